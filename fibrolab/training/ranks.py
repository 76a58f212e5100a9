"""Ranks: one function in several processes at once, on one machine or several, watched from outside.

The command itself is one process that loads, audits, tracks and reports. Only the training happens on ranks,
which are children of it. Under torchrun or srun, which start the command once per rank, the first process is
that command, and the others wait for its jobs; each of them starts and watches one rank. Thus every rank has
a process beside it that is never inside a collective operation and can end it at any time.

The processes find each other through a `torch.distributed.TCPStore` with these keys, for job number N::

    here/RANK        a process that a launcher started has come
    N/job            path of the pickled job, on a disk that all share
    N/failed         some rank has failed
    N/fault/RANK     why a rank failed, pickled
    N/result         what the function returned on rank zero, pickled
    end              exit code of the command: no more jobs

This module imports torch only where ranks are used, so that the command line stays fast.
"""

import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fibrolab.errors import ConfigError, FibrolabError, TrainingError
from fibrolab.processes import cores, keep_freed_memory
from fibrolab.storage import put
from fibrolab.training import rank_messages
from fibrolab.training.devices import Place, devices_here, launched_device, place

if TYPE_CHECKING:
    from torch.distributed import Store

POLL = 0.5  # [s] between two looks at the ranks
COMING = 300.0  # [s] within which all processes of a launcher have to come
GRACE = 3.0  # [s] for the other ranks to report, after one has failed
TOLD_TO_END = 128 + signal.SIGTERM  # exit code
ENDING = 20.0  # [s] from SIGTERM, after which ranks save a checkpoint, to SIGKILL


@dataclass
class Session:
    """The store through which the processes of this command find each other, and its next job."""

    store: "Store"
    here: Place
    port: int
    jobs: int = field(default=0)


_session: Session | None = None  # of a command that a launcher started


@contextmanager
def leading(here: Place) -> Iterator[None]:
    """Lead the processes that a launcher started: they take the jobs of this one, and end with it."""
    global _session
    if here.size == 1:
        yield
        return
    _session, code = _connected(here), 1
    try:
        yield
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
    finally:
        store = _session.store
        store.set("end", str(code))
        until = time.monotonic() + ENDING
        while not here.hosted and store.add("left", 0) < here.size - 1 and time.monotonic() < until:
            time.sleep(POLL)  # the store ends with this process, and the others read the exit code in it


def follow(here: Place) -> int:
    """Train as one of the ranks of each job of the leading process; return its exit code.

    This process reads no data and no settings and writes nothing. On SIGTERM, such as of a pod that is
    evicted, its rank lets all ranks save a checkpoint, and the job ends.
    """
    from torch.distributed import DistError

    _ignore_signals_of_leader()
    signal.signal(signal.SIGTERM, _interrupt_once)
    try:
        session = _connected(here)
        try:
            while (code := _next_job(session)) is None:
                session.jobs += 1
        except KeyboardInterrupt:
            code = TOLD_TO_END
        session.store.add("left", 1)  # for which the leading process waits
    except FibrolabError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except DistError:  # the store has ended, and the leading process with it
        return 1
    except KeyboardInterrupt:
        return TOLD_TO_END
    return code


def _next_job(session: Session) -> int | None:
    """Do the next job; return the leading process's exit code if there is none."""
    number, store = session.jobs, session.store
    while not store.check([f"{number}/job"]):
        if store.check(["end"]):
            return int(store.get("end"))
        time.sleep(POLL)
    job, on_cpu = pickle.loads(store.get(f"{number}/job"))
    if job.is_file():
        try:
            _supervise(session, job, number, [launched_device(session.here, on_cpu)])
        except KeyboardInterrupt:
            rank = session.here.rank
            _set(store, f"{number}/fault/{rank}", _pickled(0, _told_to_end(rank)))
            store.set(f"{number}/failed", "1")
            raise
    elif not store.check([f"{number}/failed"]):  # otherwise it is gone because the job has failed elsewhere
        _set(store, f"{number}/fault/{session.here.rank}", _pickled(0, _not_shared(job)))
        store.set(f"{number}/failed", "1")
    return None


def _told_to_end(rank: int) -> TrainingError:
    return TrainingError(f"Rank {rank} was told to end (SIGTERM); the run goes on with resume=RUN_ID.")


def _not_shared(job: Path) -> ConfigError:
    return ConfigError(f"{job} is not on all nodes: set paths.cache to a folder on a disk that they share.")


def _connected(here: Place) -> Session:
    """Connect to the store of a launcher, or host it on rank zero.

    Raises:
        TrainingError: Rank zero does not come in time.
    """
    from torch.distributed import PrefixStore, TCPStore

    host, port = here.address
    serves = here.rank == 0 and not here.hosted
    try:
        server = TCPStore(
            host, port, is_master=serves, timeout=timedelta(seconds=COMING), wait_for_workers=False
        )
    except RuntimeError as error:
        raise TrainingError(
            f"Rank {here.rank} could not reach rank zero at {host}:{port} within {COMING / 60:.0f} min: has "
            "it ended, or does a firewall close the port?"
        ) from error
    store = PrefixStore("fibrolab", server)
    store.set(f"here/{here.rank}", "1")
    return Session(store, here, server.port)


def run(
    work: Callable[..., Any],
    arguments: Sequence[Any],
    trainer: Mapping[str, Any],
    folder: Path,
    told: Callable[[Any], None] | None = None,
) -> Any:
    """Run `work(*arguments)` on all ranks at once, and return what it returns on rank zero.

    On a rank, `torch.distributed` is ready, and the device is the current one.

    Args:
        work: A function of a module.
        arguments: Its arguments; they are pickled.
        trainer: Settings of the trainer, checked by `check`.
        folder: Folder for the pickled job, on a disk that all nodes share.
        told: Function that is called in this process, by another thread, with each value that rank zero
            passes to `rank_messages.tell`; what it raises ends the ranks. None: the values are dropped.

    Raises:
        FibrolabError: A rank raised it, was ended by a signal, or did not come in time.
        KeyboardInterrupt: Ctrl-C or SIGTERM; all ranks have ended.
        Exception: A rank raised it; a note holds its traceback.
    """
    devices = devices_here(trainer)
    here = place()
    session = _session if here.size > 1 else _connected(Place(size=len(devices)))
    if session is None:
        raise ConfigError(
            "A launcher started this program on several ranks: under torchrun and srun, only "
            "`-m fibrolab.train` can train."
        )
    if here.size > 1:
        _await_all(session)
    job = put(folder.absolute() / f"{uuid.uuid4().hex}.job", pickle.dumps((work, tuple(arguments))))
    number = session.jobs
    session.jobs += 1
    try:
        _set(session.store, f"{number}/job", pickle.dumps((job, devices[0] is None)))
        _supervise(session, job, number, devices, told)
        return _result(session, number)
    except BaseException:
        session.store.set(f"{number}/failed", "1")  # after Ctrl-C, other nodes would wait for these ranks
        raise
    finally:
        job.unlink(missing_ok=True)


def _await_all(session: Session) -> None:
    """Wait until every process of the launcher has come.

    Raises:
        TrainingError: One did not come in time.
    """
    until = time.monotonic() + COMING
    ranks = range(session.here.size)
    while absent := [rank for rank in ranks if not session.store.check([f"here/{rank}"])]:
        if time.monotonic() > until:
            raise TrainingError(
                f"Of {len(ranks)} ranks, {', '.join(map(str, absent))} did not come within "
                f"{COMING / 60:.0f} min: see what the launcher printed for their nodes."
            )
        time.sleep(POLL)


def _supervise(
    session: Session,
    job: Path,
    number: int,
    devices: Sequence[int | None],
    told: Callable[[Any], None] | None = None,
) -> None:
    """Start the ranks of this process, and watch them until they or any rank of the job have ended."""
    here, store = session.here, session.store
    context = multiprocessing.get_context("spawn")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # of the ranks: DDP's advice on speed is for us
    local = max(here.local_size, len(devices))
    children: dict[int, BaseProcess] = {}
    with rank_messages.listening(told) as (writer, faults):
        try:
            for rank, device in enumerate(devices, start=here.rank):
                where = Rank(rank, here.size, local, device, here.address[0], session.port, number)
                arguments = (where, job, writer if rank == 0 else None)
                children[rank] = context.Process(target=_rank, args=arguments, name=f"rank {rank}")
                children[rank].start()
            writer.close()  # rank zero has its own
            while running := [child.sentinel for child in children.values() if child.is_alive()]:
                wait(running, timeout=POLL)
                if faults:
                    raise faults[0]
                _report_deaths(children, store, number)
                if store.check([f"{number}/failed"]):
                    _join(children.values(), GRACE)
                    _report_deaths(children, store, number)
                    break
        finally:
            _end(children.values())


def _report_deaths(children: Mapping[int, BaseProcess], store: "Store", number: int) -> None:
    """Report the ranks that have ended without a word, such as by the system when memory ran out."""
    for rank, child in children.items():
        if child.exitcode and not store.check([f"{number}/fault/{rank}"]):
            code = child.exitcode
            how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
            fault = TrainingError(
                f"Rank {rank} was ended by {how}. If the memory ran out, lower batch_size or num_workers, or "
                "use fewer devices."
            )
            fault = _told_to_end(rank) if code == TOLD_TO_END else fault
            _set(store, f"{number}/fault/{rank}", _pickled(1, fault))
            store.set(f"{number}/failed", "1")


def _result(session: Session, number: int) -> Any:
    """Return what rank zero returned, or raise the fault that explains the others."""
    store, key = session.store, f"{number}/result"
    if not store.check([f"{number}/failed"]) and store.check([key]):
        return pickle.loads(store.get(key))
    if session.here.local_size < session.here.size:
        time.sleep(GRACE)  # other nodes report too
    ranks = [rank for rank in range(session.here.size) if store.check([f"{number}/fault/{rank}"])]
    faults = [pickle.loads(store.get(f"{number}/fault/{rank}")) for rank in ranks]
    assert faults, "no rank failed, and none returned"
    raise min(faults, key=lambda fault: fault[:2])[2]


def _join(children: Iterable[BaseProcess], seconds: float) -> None:
    until = time.monotonic() + seconds
    for child in children:
        child.join(max(0.0, until - time.monotonic()))


def _end(children: Iterable[BaseProcess]) -> None:
    """End what still runs, politely at first."""
    running = [child for child in children if child.is_alive()]
    for child in running:
        child.terminate()
    _join(running, ENDING)
    for child in running:
        if child.is_alive():
            child.kill()
        child.join()


@dataclass(frozen=True)
class Rank:
    """Facts of a rank: its number, that of all and of those on its machine, its GPU, store and job."""

    rank: int
    size: int
    local_size: int
    device: int | None
    host: str
    port: int
    job: int


_device: int | None = None  # GPU of this rank


def device() -> int | None:
    """Return the GPU of this rank; None on the CPU."""
    return _device


def local_size() -> int:
    """Return the number of ranks on the machine of this rank."""
    return int(os.environ["LOCAL_WORLD_SIZE"])


def _rank(where: Rank, job: Path, writer: Connection | None) -> None:
    """Be one rank: the first function of its process."""
    _ignore_signals_of_leader()
    signal.signal(signal.SIGTERM, _interrupt)
    # A spawned process would spawn its loader processes too, each of which imports PyTorch.
    multiprocessing.set_start_method(None, force=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
    _speak_once(writer)
    from torch.distributed import PrefixStore, TCPStore

    server = TCPStore(where.host, where.port, is_master=False, wait_for_workers=False)
    store, number = PrefixStore("fibrolab", server), where.job
    try:
        _join_group(where, PrefixStore(f"group {number}", server))
        result = _work(job)
        if where.rank == 0:
            _set(store, f"{number}/result", pickle.dumps(result))
    except KeyboardInterrupt:
        os._exit(TOLD_TO_END)
    except BaseException as error:
        error.add_note(f"On rank {where.rank}:\n{''.join(traceback.format_exception(error))}")
        severity = 0 if isinstance(error, FibrolabError) else 2
        _set(store, f"{number}/fault/{where.rank}", _pickled(severity, error))
        store.set(f"{number}/failed", "1")
        sys.stdout.flush()
        os._exit(1)  # without waiting for threads that wait for other ranks


def _work(job: Path) -> Any:
    import torch

    work, arguments = pickle.loads(job.read_bytes())
    result = work(*arguments)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    return result


def _set(store: "Store", key: str, content: bytes) -> None:
    store.set(key, content)  # type: ignore[arg-type]  # the stubs know text only


def _pickled(severity: int, error: BaseException) -> bytes:
    """Return (severity, time, error); the fault with the least of both explains those of other ranks."""
    try:
        pickle.loads(content := pickle.dumps((severity, time.time(), error)))
    except Exception:
        content = pickle.dumps((severity, time.time(), RuntimeError("\n".join(error.__notes__))))
    return content


def _interrupt(number: int, _: object) -> NoReturn:
    raise KeyboardInterrupt


def _interrupt_once(number: int, _: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # the rank is being ended
    raise KeyboardInterrupt


def _ignore_signals_of_leader() -> None:
    """Ignore the signals that a terminal or Slurm sends to all processes; the leading process answers."""
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _end_with_parent() -> None:
    """End this process when its parent has ended in any way; a killed parent cannot tell it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _speak_once(writer: Connection | None) -> None:
    """Let only rank zero, which has a writer, print and log."""
    if writer is not None:
        rank_messages.send_from_here(writer)
        return
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _join_group(where: Rank, store: "Store") -> None:
    """Set device, threads and the variables by which Lightning knows a rank, and join the process group.

    Each rank counts as a node with one device for Lightning, so that any GPU may be that of any rank.
    """
    global _device
    import torch

    os.environ.pop("PL_GLOBAL_SEED", None)  # Lightning would seed every rank alike again
    numbers = {"RANK": where.rank, "GROUP_RANK": where.rank, "LOCAL_RANK": 0, "WORLD_SIZE": where.size}
    numbers |= {"LOCAL_WORLD_SIZE": where.local_size, "MASTER_PORT": where.port}
    os.environ.update({name: str(value) for name, value in numbers.items()}, MASTER_ADDR=where.host)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores() // where.local_size))
    _device, backend = where.device, "gloo"
    if where.device is not None:
        torch.cuda.set_device(where.device)
        backend = "nccl"
    torch.distributed.init_process_group(
        backend,
        store=store,
        rank=where.rank,
        world_size=where.size,
        device_id=None if where.device is None else torch.device("cuda", where.device),
    )
