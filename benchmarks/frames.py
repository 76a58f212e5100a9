"""CPU seconds of the survey and the pixel store for every frame of one DICOM film, by its number of frames.

    python -m benchmarks.frames

The films are uncompressed, 640 x 480 px in grey. The last line is the exponent between the smallest and the
largest film: 1 is linear, as where the file is read once for all its frames.
"""

import argparse
import logging
import tempfile
from pathlib import Path

import cv2
import numpy as np

from benchmarks.scale import write_dicom
from benchmarks.stages import Stage, staged
from fibrolab.data.cache import PixelStore
from fibrolab.data.media import Media, View
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.survey import survey


def film(frames: int, height: int, width: int) -> np.ndarray:
    """Return smooth noise that drifts, uint8 (N, H, W)."""
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8, width // 4), np.uint8)
    wide = cv2.resize(coarse, (2 * width, height))
    starts = (at * width // frames for at in range(frames))
    return np.stack([wide[:, start : start + width] for start in starts])


def measure(frames: int, height: int, width: int) -> list[Stage]:
    """Print and return the stages of one film."""
    stages: list[Stage] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.dcm"
        write_dicom(path, film(frames, height, width))
        media = [Media(path, View(number)) for number in range(frames)]
        facts = staged(f"survey, {frames} frames", lambda: survey(media, Path(folder)), into=stages)
        store = PixelStore(Path(folder) / "pixels", Preprocess(size=64))
        digests = facts["sha256"].tolist()
        staged(f"pixel store, {frames} frames", lambda: store.build(media, digests), into=stages)
    return stages


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--size", type=int, nargs=2, default=[480, 640], help="height and width [px]")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    found = [measure(frames, *options.size) for frames in options.frames]
    ratio = np.log(options.frames[-1] / options.frames[0])
    for first, last in zip(found[0], found[-1], strict=True):
        exponent = np.log(max(last.busy, 1e-3) / max(first.busy, 1e-3)) / ratio
        print(f"{first.name.partition(',')[0]:28} {exponent:8.2f}")


if __name__ == "__main__":
    main()
