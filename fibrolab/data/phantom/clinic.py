"""The clinic's archive: draws a whole cohort and writes it as real files, PNG and CSV, once.

ROOT/
    manifest.csv         one row an image; its presence says that the archive is complete
    images/p0000-0.png   first view of the first patient
"""

import csv
import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

import cv2
from filelock import AcquireReturnProxy, FileLock, Timeout

from fibrolab import keys
from fibrolab.data.phantom import patient as people
from fibrolab.data.phantom.bmode import bmode
from fibrolab.data.progress import track
from fibrolab.errors import ConfigError, StorageError, listing

GENERATOR_VERSION = 1  # raised whenever the same parameters would draw other pixels or rows
SCORE = "phantom_score"  # the latent score, for holding a model against the best that is possible
IMAGES = "images"
IMAGES_A_PROCESS = 100  # below it, starting another process takes longer than it saves
LOWEST = {"patients": 15, "images_per_patient": 1, "size": 32, "separability": 0, "seed": 0}

Row = dict[str, str | int]


@dataclass(frozen=True)
class Cohort:
    """What is drawn: every image is a pure function of seed, separability, size, patient and view.

    Attributes:
        patients: Number of patients, stages balanced; at least 15: of each stage one for every partition.
        images_per_patient: Views of each.
        size: Side of the pictures [px].
        separability: Distance of the stages; 0 = no trace of the stage, 1 = clear.
        seed: Of everything.

    Raises:
        ConfigError: Parameters out of range, all of them at once.
    """

    patients: int = 200
    images_per_patient: int = 4
    size: int = 128
    separability: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        faults = [_fault(field.name, getattr(self, field.name)) for field in fields(self)]
        if any(faults):
            raise ConfigError(
                f"The phantom cannot be drawn:\n{listing([fault for fault in faults if fault])}"
            )

    def key(self) -> str:
        """Short hash of the parameters and of the generator's version: names the archive."""
        parameters = asdict(self) | {"separability": float(self.separability), "version": GENERATOR_VERSION}
        text = json.dumps(parameters, sort_keys=True)  # 1 and 1.0 are the same cohort
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _fault(name: str, value: object) -> str:
    """What is wrong with a parameter, or nothing."""
    whole = name != "separability"
    kinds = (int,) if whole else (int, float)
    lowest = LOWEST[name]
    if isinstance(value, kinds) and not isinstance(value, bool) and lowest <= value < float("inf"):
        return ""
    return f"{name} is {value!r}; give a {'whole ' if whole else ''}number of {lowest} or more"


def generate(root: Path, cohort: Cohort, workers: int = 0, progress: bool = True) -> Path:
    """Draw a cohort into a folder, unless it lies there already.

    The files are written beside and moved into place at the end, so a folder with a manifest is whole. One
    process draws at a time: another waits, then finds the work done. The pictures do not depend on the number
    of workers.

    Args:
        root: Folder of the archive; its parents are made.
        cohort: What to draw.
        workers: Processes; 0 for as many cores as pay.
        progress: Show a bar.

    Returns:
        The folder.

    Raises:
        StorageError: Full disk, a folder that cannot be written, or one that holds something else.
    """
    if _complete(root):
        return root
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with _alone(root.with_name(f"{root.name}.lock")):
            if not _complete(root):
                _draw_and_move(root, cohort, workers, progress)
    except OSError as error:
        raise _storage_error(root, cohort, error) from error
    return root


def _complete(root: Path) -> bool:
    return (root / keys.MANIFEST_FILE).is_file()


def _alone(path: Path) -> AcquireReturnProxy:
    """The lock, held until the `with` ends; says so where another process has it first."""
    lock = FileLock(path)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        print(f"Another process draws {path.stem}: waiting for it.", file=sys.stderr)
        return lock.acquire()


def _draw_and_move(root: Path, cohort: Cohort, workers: int, progress: bool) -> None:
    partial_root = root.with_name(f"{root.name}.partial")
    shutil.rmtree(partial_root, ignore_errors=True)  # left by a process that was killed
    (partial_root / IMAGES).mkdir(parents=True)
    try:
        rows = _drawn(partial_root, cohort, workers)
        if progress:
            rows = track(rows, total=cohort.patients, task="Drawing the phantom's patients")
        table = [row for patient_rows in rows for row in patient_rows]
        with (partial_root / keys.MANIFEST_FILE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(table[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
        partial_root.replace(root)
    finally:
        shutil.rmtree(partial_root, ignore_errors=True)


def _drawn(root: Path, cohort: Cohort, workers: int) -> Iterator[list[Row]]:
    """Rows of every patient in order, their images written on the way."""
    draw = partial(_draw_patient, root, cohort)
    enough = 1 + cohort.patients * cohort.images_per_patient // IMAGES_A_PROCESS
    workers = workers or min(enough, os.cpu_count() or 1)
    if workers == 1:
        yield from map(draw, range(cohort.patients))
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        yield from pool.map(draw, range(cohort.patients), chunksize=4)


def _start_worker() -> None:
    """A worker draws with one thread, leaves Ctrl-C to its parent, and ends with it."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Without it, the workers of a killed parent would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _draw_patient(root: Path, cohort: Cohort, number: int) -> list[Row]:
    """Write the views of one patient; a row of the manifest each."""
    person = people.patient(cohort.seed, number, cohort.separability)
    patient_id = f"p{number:04d}"
    rows: list[Row] = []
    for image in range(cohort.images_per_patient):
        sample_id = f"{patient_id}-{image}"
        path = Path(IMAGES) / f"{sample_id}.png"
        rng = people.generator(cohort.seed, people.STREAM_IMAGE, number, image)
        _, png = cv2.imencode(".png", bmode(person.body, person.exam, cohort.size, rng))
        (root / path).write_bytes(png.tobytes())
        rows.append(
            {
                keys.SAMPLE_ID: sample_id,
                keys.GROUP_ID: patient_id,
                keys.PATIENT_ID: patient_id,
                keys.VISIT_ID: f"{patient_id}-v1",
                keys.LABEL: person.stage,
                keys.IMAGE: path.as_posix(),
                keys.SITE: person.exam.scanner.site,
                keys.SCANNER: person.exam.scanner.name,
                keys.AGE_YEARS: person.age_years,
                keys.SEX: person.sex,
                SCORE: f"{person.score:.6f}",
            }
        )
    return rows


def _storage_error(root: Path, cohort: Cohort, error: OSError) -> StorageError:
    if error.errno == errno.ENOSPC:
        mebibytes = cohort.patients * cohort.images_per_patient * cohort.size**2 / 2**20
        return StorageError(
            f"The disk of {root.parent} is full: the phantom takes up to {mebibytes:.0f} MiB there; make "
            "room, or choose another folder."
        )
    if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
        return StorageError(f"{root} is in the way and is no phantom: remove it, or choose another folder.")
    return StorageError(
        f"The phantom cannot be written to {root}: {error.strerror or error}; choose another folder."
    )
