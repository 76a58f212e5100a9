"""Archive of the synthetic clinic: a cohort is generated once, as a folder of files.

ROOT/
    manifest.csv         one row per file
    truth.json           the parameters, and the best accuracy that they allow
    checksums.json       of all other files; if it exists, the archive is complete
    images/p0000-0.png   first view of the first patient (captures/, clips/, lesions/ of other modalities)
"""

import csv
import errno
import json
import logging
import math
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import cv2
from filelock import AcquireReturnProxy, FileLock, Timeout

from fibrolab import keys
from fibrolab.data.progress import track
from fibrolab.errors import StorageError
from fibrolab.phantom.clinic import MASKS, MODALITY, Row, store
from fibrolab.phantom.synthetic_cohort import GENERATOR_VERSION, Cohort
from fibrolab.processes import cores
from fibrolab.storage import SEAL, full_disk, is_full, is_unchanged, seal

TRUTH_FILE = "truth.json"
_log = logging.getLogger(__name__)
SECONDS_A_PROCESS = 1.0  # of drawing; for less, starting another process takes longer than it saves


def generate(root: Path, cohort: Cohort, workers: int = 0, progress: bool = True) -> Path:
    """Draw a cohort into a folder, unless the folder has it already, with no byte changed.

    The files are written to a temporary folder that is renamed at the end. Only one process draws at a time;
    another waits, then finds the archive. The files do not depend on the number of workers.

    Args:
        root: Folder of the archive; its parents are created.
        cohort: Parameters of the cohort.
        workers: Number of processes; 0 for as many as make it faster.
        progress: Show a progress bar.

    Returns:
        The folder.

    Raises:
        StorageError: The disk is full, the folder cannot be written, or it holds something else.
    """
    if _complete(root, cohort):
        return root
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself tests
        raise RuntimeError(
            "A worker process imports the script that started it. Draw the phantom below "
            "`if __name__ == '__main__':`, or the two processes would wait for each other for ever."
        )
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with _locked(root.with_name(f"{root.name}.lock")):
            if not _complete(root, cohort):
                if _is_archive(root):
                    _log.warning("%s is damaged; it is drawn again.", root)
                _draw_and_move(root, cohort, workers, progress)
    except OSError as error:
        raise _storage_error(root, cohort, error) from error
    return root


def _complete(root: Path, cohort: Cohort) -> bool:
    """Return whether a folder holds an undamaged archive.

    Raises:
        StorageError: It holds the archive of another cohort, damaged or not.
    """
    try:
        truth = json.loads((root / TRUTH_FILE).read_bytes())
    except (OSError, ValueError):  # there is no archive, or a damaged one
        return False
    if truth != json.loads(json.dumps(_truth(cohort))):
        raise StorageError(f"{root} holds another phantom: remove it, or choose another folder.")
    return is_unchanged(root)


def _is_archive(root: Path) -> bool:
    """Return whether a folder holds an archive, even a damaged one."""
    return all((root / name).is_file() for name in (keys.MANIFEST_FILE, TRUTH_FILE, SEAL))


def _locked(path: Path) -> AcquireReturnProxy:
    """Hold the lock until the `with` ends; print a message if another process holds it."""
    lock = FileLock(path)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        print(f"Another process is drawing {path.stem}; waiting for it.", file=sys.stderr)
        return lock.acquire()


def _draw_and_move(root: Path, cohort: Cohort, workers: int, progress: bool) -> None:
    partial_root = root.with_name(f"{root.name}.partial")
    shutil.rmtree(partial_root, ignore_errors=True)  # left by a process that was killed
    masks = (MASKS,) if cohort.modality == "masked" else ()
    for folder in (MODALITY[cohort.modality].folder, *masks):
        (partial_root / folder).mkdir(parents=True)
    try:
        rows = _draw(partial_root, cohort, workers)
        if progress:
            rows = track(rows, total=cohort.patients, task="Drawing the phantom's patients")
        table = [row for patient_rows in rows for row in patient_rows]
        with (partial_root / keys.MANIFEST_FILE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(table[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
        truth = json.dumps(_truth(cohort), indent=2) + "\n"
        (partial_root / TRUTH_FILE).write_text(truth, encoding="utf-8")
        seal(partial_root)
        if _is_archive(root):  # a damaged one
            shutil.rmtree(root)
        partial_root.replace(root)
    finally:
        shutil.rmtree(partial_root, ignore_errors=True)


def _draw(root: Path, cohort: Cohort, workers: int) -> Iterator[list[Row]]:
    """Write the files of every patient, in order, and yield their rows."""
    draw = partial(store, root, cohort)
    seconds = cohort.patients * cohort.images_per_patient * MODALITY[cohort.modality].seconds
    workers = workers or min(1 + int(seconds / SECONDS_A_PROCESS), cores())
    if workers == 1:
        yield from map(draw, range(cohort.patients))
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        with _sigint_blocked():
            rows = pool.map(draw, range(cohort.patients), chunksize=4)  # starts the workers
        yield from rows


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Block Ctrl-C; processes that start meanwhile inherit this, also before `_start_worker` has run."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker() -> None:
    """Set up a worker: one thread, Ctrl-C handled by the parent alone, end together with the parent."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent is killed; it would otherwise wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _truth(cohort: Cohort) -> dict[str, object]:
    """Return the content of `truth.json`."""
    return {
        "generator_version": GENERATOR_VERSION,
        "cohort": asdict(cohort),
        "best_accuracy": cohort.best_accuracies(),
    }


def _storage_error(root: Path, cohort: Cohort, error: OSError) -> StorageError:
    if is_full(error):
        pictures = cohort.patients * cohort.images_per_patient
        mebibytes = math.ceil(pictures * cohort.size**2 * MODALITY[cohort.modality].bytes_a_pixel / 2**20)
        return StorageError(
            f"The phantom takes up to {mebibytes} MiB in {root.parent}, but {full_disk(root.parent)}. Free "
            "some space, or choose another folder."
        )
    if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
        return StorageError(f"{root} exists and is not a phantom: remove it, or choose another folder.")
    return StorageError(
        f"The phantom cannot be written to {root}: {error.strerror or error}; choose another folder."
    )
