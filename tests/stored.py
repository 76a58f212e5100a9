"""Image and video files on the disk, for tests of the pixel store."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from fibrolab.data.formats import video


def write_scans(folder: Path, count: int, side: int = 24) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:03}.png" for i in range(count)]
    for i, path in enumerate(paths):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (side, side), dtype=np.uint8)).save(path)
    return paths


def write_films(folder: Path, lengths: tuple[int, ...]) -> list[Path]:
    paths = [folder / f"{i}.avi" for i in range(len(lengths))]
    for i, (path, length) in enumerate(zip(paths, lengths, strict=True)):
        frames = np.random.default_rng(i).integers(0, 256, (length, 32, 48), dtype=np.uint8)
        video.write(path, frames, fps=10)
    return paths


def hashes(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
