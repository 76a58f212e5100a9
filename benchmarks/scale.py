"""Seconds and peak memory of every stage before and during training, by the number of rows, and their growth.

    python -m benchmarks.scale                                        # 10,000 and 100,000 rows
    python -m benchmarks.scale --rows 10000 100000 1000000 --made-up  # without files: facts are made up

An archive of as many rows is written: four fifths are frames of films (32 px, 500 frames, one film a patient;
DICOM and MJPEG in turn), the others are PNG files of 32 px, four of each patient, a tenth of them without a
patient. It is then read as a training reads it: manifest, survey, groups, split, audit, pixel store, one
epoch. Each number of rows has a process of its own. The last lines are the exponents between the smallest and
the largest: 1 is linear.

With `--made-up` there are no files: the facts that a survey finds are drawn (hashes as in
`benchmarks.near_hashes`), and the stages that read files are left out.
"""

import argparse
import logging
import multiprocessing
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundMultiFrameImageStorage, generate_uid

from benchmarks import audit as made_up
from benchmarks import near_hashes
from benchmarks.stages import Stage, staged
from fibrolab import keys
from fibrolab.auditing import thumbnails_of
from fibrolab.data import splits
from fibrolab.data.audit import audit
from fibrolab.data.cache import PixelStore
from fibrolab.data.duplicates import grouped
from fibrolab.data.formats import video
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.survey import survey

FRAMES, FILMS = 500, 0.8  # frames of a film; proportion of the rows that are frames
SIDE = 32  # [px]
CLASSES = ("F0", "F1", "F2", "F3", "F4")


def table(count: int) -> pd.DataFrame:
    """Return the rows: frames of films first, then pictures."""
    number = np.arange(count)
    films = int(FILMS * count) // FRAMES * FRAMES
    is_frame = number < films
    film, still = number // FRAMES, number - films
    patient = np.where(is_frame, film, films // FRAMES + still // 4)
    unknown = ~is_frame & (still // 4 % 10 == 0)
    suffixes = (".dcm", ".avi")
    names = [f"film{one // 1000:03}/{one:06}{suffixes[one % 2]}" for one in film[is_frame]]
    names += [f"{one // 1000:04}/{one:07}.png" for one in still[~is_frame]]
    return pd.DataFrame(
        {
            keys.SAMPLE_ID: [f"s{one:07}" for one in number],
            keys.PATIENT_ID: np.where(unknown, "", np.char.add("p", patient.astype(str))),
            keys.LABEL: patient * 7919 % 5,
            keys.IMAGE: names,
            keys.FRAME: np.where(is_frame, (number % FRAMES).astype(str), ""),
        }
    )


def write_files(root: Path, rows: pd.DataFrame) -> None:
    """Write smooth noise that drifts, all frames different."""
    rng = np.random.default_rng(0)
    for name in rows[keys.IMAGE].unique():
        (root / name).parent.mkdir(exist_ok=True)
        wide = cv2.resize(rng.integers(0, 256, (8, 16), np.uint8), (2 * SIDE, SIDE)).astype(np.float32)
        if name.endswith(".png"):
            cv2.imwrite(str(root / name), wide[:, :SIDE].astype(np.uint8))
            continue
        slid = [cv2.getRectSubPix(wide, (SIDE, SIDE), (x, SIDE / 2)) for x in np.linspace(16, 48, FRAMES)]
        frames = np.stack(slid).astype(np.uint8)
        if name.endswith(".dcm"):
            write_dicom(root / name, frames)
        else:
            video.write(root / name, frames, 25)


def write_dicom(path: Path, frames: np.ndarray) -> None:
    """Write a film in uncompressed grey, uint8 (N, H, W)."""
    film = pydicom.Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.SOPClassUID, film.SOPInstanceUID = UltrasoundMultiFrameImageStorage, generate_uid()
    film.NumberOfFrames, film.Rows, film.Columns = frames.shape
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 8, 8, 7, 0
    film.PixelData = frames.tobytes()
    film["PixelData"].VR = "OB"
    pydicom.dcmwrite(path, film, enforce_file_format=True)


def drawn_facts(rows: pd.DataFrame) -> pd.DataFrame:
    """Return facts as a survey finds them, a tenth of the pictures copies."""
    content = np.arange(len(rows))
    content[1::10] -= 1
    rng, sources = np.random.default_rng(0), near_hashes.pictures(None)
    films = int((rows[keys.FRAME] != "").sum()) // FRAMES
    views = [near_hashes.view(sources, rng) for _ in range(films)]
    hashes = [
        one for view in views for one in near_hashes.hashes(FRAMES, partial(near_hashes.film, view, rng))
    ]
    hashes += near_hashes.hashes(len(rows) - len(hashes), partial(near_hashes.stills, sources, rng))
    # Pictures without a patient are near no other: all stills are cut from so few pictures of the phantom
    # that they would link the patients of a million rows to one group.
    for row in np.flatnonzero(rows[keys.PATIENT_ID] == ""):
        hashes[row] = rng.bytes(32).hex()
    return made_up.facts(content).assign(phash=hashes)


def measure(count: int, without_files: bool, results: Any) -> None:
    """Print the stages of one number of rows, and put them into a queue."""
    logging.disable(logging.WARNING)
    stages: list[Stage] = []

    def stage(name: str, work: Callable[[], Any]) -> Any:
        return staged(name, work, into=stages)

    print(f"{count:,} rows", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder), Path(folder) / "cache"
        rows = table(count)
        if not without_files:
            write_files(root, rows)
        manifest = stage("manifest", lambda: Manifest(rows, CLASSES, "many", root))
        stage("manifest hash", lambda: manifest.hash)
        if without_files:
            facts = drawn_facts(rows)
        else:
            stage("survey, cold", lambda: survey(manifest.media(), cache))
            facts = stage("survey, warm", lambda: survey(manifest.media(), cache))
        manifest = stage("groups", lambda: grouped(manifest, facts))
        split = stage("split", lambda: splits.holdout(manifest))
        surveys = {keys.IMAGE: facts}
        shown = made_up.thumbnails if without_files else partial(thumbnails_of, manifest, cache)
        stage("audit", lambda: audit(manifest, surveys, split, manifest.labels, CLASSES, shown))
        if not without_files:
            data = LabelledData(manifest, {keys.IMAGE: facts}, manifest.labels, list(CLASSES), split)
            _train(data, cache, stage)
    results.put(stages)


def _train(data: LabelledData, cache: Path, stage: Callable[[str, Callable[[], Any]], Any]) -> None:
    """Measure what a training does with the pixels; the libraries are imported here, after the audit."""
    from fibrolab.data.datamodule import FibrosisDataModule

    stores = {keys.IMAGE: PixelStore(cache / "pixels", Preprocess(SIDE))}

    def built() -> FibrosisDataModule:
        datamodule = FibrosisDataModule(data=data, stores=stores, batch_size=256, num_workers=0)
        datamodule.prepare_data()
        return datamodule

    stage("pixel store", built)
    datamodule = stage("pixel store, again", built)
    datamodule.setup("fit")
    loader = datamodule.train_dataloader()
    stage("one epoch", lambda: sum(len(batch[keys.LABEL]) for batch in loader))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--made-up", action="store_true", help="no files: facts are drawn")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    stages = []
    for count in options.rows:
        process = context.Process(target=measure, args=(count, options.made_up, results))
        process.start()
        stages.append(results.get())
        process.join()
    if len(stages) > 1:
        print(f"exponents from {options.rows[0]:,} to {options.rows[-1]:,} rows (CPU seconds; memory a row)")
        ratio = options.rows[-1] / options.rows[0]
        for first, last in zip(stages[0], stages[-1], strict=True):
            exponent = np.log(max(last.busy, 1e-3) / max(first.busy, 1e-3)) / np.log(ratio)
            more = (last.peak - first.peak) * 2**20 / (options.rows[-1] - options.rows[0])
            print(f"{first.name:28} {exponent:8.2f}   {more:8.0f} bytes a row")


if __name__ == "__main__":
    main()
