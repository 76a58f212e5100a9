"""Processes: identity, by which a later one tells whether they still exist; end, cores and memory."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

PROC = Path("/proc")
INITIAL = "pid:[4026531836]"  # namespace of a Linux system's own processes, outside any container
PARENT = "FIBROLAB_PARENT"  # environment variable of a process that ends with its parent: the parent's id
CORES = "FIBROLAB_CORES"  # environment variable of a process that shares the machine: its number of cores
LOOK = 1.0  # [s] between two looks at the parent
ENDING = 40.0  # [s] from SIGTERM, after which a process ends its ranks and closes its run, to SIGKILL
KEPT = 2**29  # [bytes] of freed memory that a process keeps
LARGEST_KEPT = 2**25  # [bytes] of a part of it; glibc allows no more
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of `mallopt` (malloc.h)
_START = 19  # place of the start time behind the name of the program in /proc/PID/stat (proc(5), field 22)


@dataclass(frozen=True)
class Process:
    """A process, distinct from every other one before and after it.

    A process id alone is used again, and has another meaning in each container and on each machine. Where
    the system has no `/proc`, all fields but host and id are ``-``.

    Attributes:
        host: Name of the machine or container.
        pid: Process id.
        started: Start time [clock ticks since the boot].
        namespace: Namespace in which the id has its meaning; a container has its own.
        boot: Id of the boot.
    """

    host: str
    pid: str
    started: str
    namespace: str
    boot: str

    def __str__(self) -> str:
        """Return the fields in one line, the host last: it may hold blanks."""
        host, *rest = astuple(self)
        return " ".join([*rest, host])


def parsed(text: str) -> Process | None:
    """Return the process that `str` wrote; None for any other text."""
    pid, *rest = text.split(" ", 4)
    if len(rest) != 4 or not pid.isdigit():
        return None
    started, namespace, boot, host = rest
    return Process(host, pid, started, namespace, boot)


def current() -> Process:
    """Return this process."""
    namespace = boot = "-"
    with contextlib.suppress(OSError):
        namespace = str((PROC / "self" / "ns" / "pid").readlink())
        boot = (PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
    pid = str(os.getpid())
    return Process(socket.gethostname(), pid, _started(pid), namespace, boot)


def has_ended(process: Process) -> bool:
    """Return whether a process certainly no longer exists; False where that cannot be known from here.

    Of another machine or another container nothing is known, even if it has the same name.
    """
    here = current()
    if process.host != here.host:
        return False
    if (process.namespace, process.boot) == (here.namespace, here.boot):
        return not exists(process.pid) or process.started != _started(process.pid)
    return process.boot != here.boot and process.namespace == here.namespace == INITIAL  # booted since


def exists(pid: str) -> bool:
    """Return whether a process of this machine exists."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it belongs to another user
        return True
    return True


def _started(pid: str) -> str:
    with contextlib.suppress(OSError, IndexError):
        return (PROC / pid / "stat").read_text().rpartition(")")[2].split()[_START]
    return "-"


def kills_for_memory() -> int | None:
    """Return how many processes Linux has killed since its boot because memory ran out; None if unknown.

    The kernel counts a kill before it sends the signal, whether the machine or a container ran out (proc(5),
    `oom_kill` of /proc/vmstat).
    """
    with contextlib.suppress(OSError):
        for line in (PROC / "vmstat").read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return None


def cores() -> int:
    """Return the number of cores for this process: its share, or all of the machine."""
    return int(os.environ.get(CORES) or os.cpu_count() or 1)


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, up to `KEPT`, for the next batch of a network.

    glibc returns it to the system, which then clears it for the next batch: a fourth of a training step of a
    small network on a CPU (`mallopt(3)`). Other C libraries have no such setting.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Windows, macOS, musl
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(_TRIM_THRESHOLD, KEPT)


@contextlib.contextmanager
def single_threaded_opencv() -> Iterator[None]:
    """Make OpenCV use one thread per call, where images are already distributed over all cores."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def loader_processes(number: int) -> dict[str, Any]:
    """Return the arguments of a DataLoader by which its processes outlive the signals of a launcher.

    A launcher and a terminal signal all processes of a job. The training needs samples until it has saved a
    checkpoint, and PyTorch's loader processes would end at once, and the training with them. They end when
    this process ends them or has ended, which PyTorch's loop looks for every few seconds.

    Args:
        number: Processes of the loader.
    """
    if number:
        Finalize(None, _kill_loaders, exitpriority=0)  # before `multiprocessing` waits for them
    return {"num_workers": number, "worker_init_fn": _ignore_signals}


def _ignore_signals(_: int) -> None:
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):  # Windows has no SIGUSR1
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _kill_loaders() -> None:
    """Kill the daemonic children, which `multiprocessing` would end by SIGTERM and then wait for."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def end_with_parent() -> None:
    """Let this process end when the parent that `PARENT` names has ended, even if that was killed.

    It ends as by SIGTERM, so that its run is marked as KILLED; with its own children, it is killed later.
    """
    parent = os.environ.pop(PARENT, None)
    if parent is not None:
        threading.Thread(target=_end_after, args=(int(parent),), daemon=True).start()


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ENDING)
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
