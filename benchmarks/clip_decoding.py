"""Clips a second on one core, decoded from a file and read from the cache.

    python -m benchmarks.clip_decoding

The films have 30 frames of 320 x 240: one in H.264 and one in Motion JPEG, written here, and a DICOM cine
loop (JPEG in YBR) that comes with pydicom. A clip is all frames in grey, a still the middle one. The files
are read into memory beforehand.
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from fibrolab import keys
from fibrolab.data.augment import Augment, sample_keys
from fibrolab.data.cache import PixelStore
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.datasets import PixelDataset, Pixels
from fibrolab.data.formats import video
from fibrolab.data.media import View, whole
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import decode, decode_clip

TURN = [{"name": "HorizontalFlip", "p": 0.5}, {"name": "Affine", "rotate": [-5, 5], "p": 1.0}]
FRAMES, HEIGHT, WIDTH = 30, 240, 320


def breathing(seed: int = 0) -> np.ndarray:
    """Return speckle that moves up and down, uint8 (FRAMES, HEIGHT, WIDTH)."""
    noise = np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    tissue = np.clip(128 + 45 * smooth / smooth.std(), 0, 255).astype(np.uint8)
    sway = (8 * np.sin(np.linspace(0, 2 * np.pi, FRAMES))).astype(int)
    return np.stack([np.roll(tissue, shift, axis=0) for shift in sway])


def films(folder: Path) -> dict[str, Path]:
    """Write the films and return their files by format."""
    from pydicom.data import get_testdata_file

    made = {"MP4, H.264": folder / "film.mp4", "AVI, Motion JPEG": folder / "film.avi"}
    for path in made.values():
        video.write(path, breathing(), fps=30)
    return made | {"DICOM, JPEG": Path(str(get_testdata_file("examples_ybr_color.dcm", download=False)))}


def from_cache(folder: Path) -> PixelDataset:
    """Return a data set of the first film, as a network receives it."""
    path, store = folder / "film.mp4", PixelStore(folder, Preprocess(size=112))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    slots = store.build(whole([path]), [digest], clips=True, progress=False)
    clip = Pixels(store.pixels_path, store.shape, slots, np.array([30.0]), Segment("uniform", 16))
    return PixelDataset(
        {keys.CLIP: clip}, np.zeros(1, np.int64), np.arange(1), sample_keys(["film"]), train=True
    )


def rate(read: Callable[..., object], *arguments: object, seconds: float) -> float:
    """Return the calls a second, after a warm-up."""
    read(*arguments)
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        read(*arguments)
        calls += 1
    return calls / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2, help="spent on each number")
    seconds = parser.parse_args().seconds
    cv2.setNumThreads(1)
    print(f"{'':24}{'clips/s':>12}{'stills/s':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for name, path in films(Path(folder)).items():
            content = path.read_bytes()
            clips = rate(decode_clip, content, path, seconds=seconds)
            stills = rate(decode, content, path, View("middle"), seconds=seconds)
            print(f"{name:24}{clips:12.1f}{stills:12.1f}")
        cached = from_cache(Path(folder))
        for name, augment in (("cache, T = 16 at 112 px", None), ("the same, augmented", Augment(TURN))):
            cached.augment = augment
            print(f"{name:24}{rate(cached.__getitem__, (0, 0, 0), seconds=seconds):12.1f}")


if __name__ == "__main__":
    main()
