"""Image and video files on the disk, and damage to stored files, for tests of what is stored."""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
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


def flip(path: Path, position: int, mask: int = 1) -> None:
    """Change the bits of `mask` in one byte of a file, at `position` modulo its length."""
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= mask
    path.write_bytes(content)


@contextmanager
def warnings_of(name: str) -> Iterator[list[str]]:
    """Return a list that receives the warnings of one logger within the `with` block."""
    said: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler = Collector(logging.WARNING)
    logging.getLogger(name).addHandler(handler)
    try:
        yield said
    finally:
        logging.getLogger(name).removeHandler(handler)
