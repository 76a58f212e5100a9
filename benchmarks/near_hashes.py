"""Seconds, peak memory and compared pairs of near copies among the hashes of an archive's pictures.

    python -m benchmarks.near_hashes                          # 10,000 to 100,000, and all pairs of 50,000
    python -m benchmarks.near_hashes --hashes 1000000         # a million
    python -m benchmarks.near_hashes --pictures FOLDER        # of a folder's pictures beside the phantom's

The hashes are those of pictures of 64 x 64 px, made from the phantom's pictures and the folder's: 55 % are
frames of films of a thousand frames (one view that slides with the breath, under new noise), 35 % are stills
(a picture cropped, turned, shifted and mirrored at random), 5 % are black but for noise, half of them with a
burned-in line, and 5 % repeat other pictures. The median distance of two frames of a film is some 40 of 256
bits (28 in clips of the synthetic clinic), and that of two stills 110 to 124; random bits are 128 apart and
easier.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from scipy.fft import dct

from benchmarks.stages import staged
from fibrolab.data.near_hashes import NEAR_BITS, distinct, linked_codes, linked_in_tiles, near_any
from fibrolab.phantom.bmode import bmode
from fibrolab.phantom.synthetic_cohort import Cohort

SIDE, LOW = 64, 16  # of the thumbnail and of its low frequencies, as in `fibrolab.data.survey`
FRAMES = 1000  # of a film
PICTURES = 400  # of the phantom, each of another patient
FILMS, STILLS, BLACK = 0.55, 0.35, 0.05  # proportions; the rest are repeats
BLOCK = 4096  # pictures made at once
EXACT = 50_000  # hashes of which all pairs are compared too
SETS = 41  # training parts of the audit: the run's own split, and twenty random ones of two proportions


def pictures(folder: Path | None, count: int = PICTURES) -> np.ndarray:
    """Return the pictures that all others are made from, uint8 (P, 64, 64)."""
    cohort = Cohort(patients=max(15, count), size=SIDE)
    people = [cohort.person(number) for number in range(count)]
    drawn = [bmode(one.body, one.exam, SIDE, np.random.default_rng(one.number)) for one in people]
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder else []
    read = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in files)
    return np.stack([*drawn, *(cv2.resize(one, (SIDE, SIDE)) for one in read if one is not None)])


def archive(count: int, sources: np.ndarray, seed: int = 0, frames: int = FRAMES) -> list[str]:
    """Return the hashes of an archive's pictures, in random order.

    Args:
        count: Number of hashes.
        sources: Pictures that they are made from, uint8 (P, 64, 64).
        seed: Seed of all draws.
        frames: Frames of each film.
    """
    rng = np.random.default_rng(seed)
    films = max(1, round(FILMS * count / frames))
    views = [view(sources, rng) for _ in range(films)]
    made = [one for shown in views for one in hashes(frames, partial(film, shown, rng))]
    made += hashes(round(STILLS * count), partial(stills, sources, rng))
    made += hashes(round(BLACK * count), partial(black, rng))
    made += [made[i] for i in rng.integers(0, len(made), max(0, count - len(made)))]
    return [made[i] for i in rng.permutation(len(made))[:count]]


def view(sources: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one picture cropped, turned, shifted and mirrored at random, float32 (64, 64)."""
    picture = sources[rng.integers(len(sources))][:, :: rng.choice([-1, 1])].astype(np.float32)
    middle = (SIDE - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), rng.uniform(-3, 3), rng.uniform(1, 1.05))
    matrix[0, 2] += rng.uniform(-2, 2)
    matrix[1, 2] += rng.uniform(-2, 2)
    return cv2.warpAffine(picture, matrix, (SIDE, SIDE)) * np.float32(rng.uniform(0.6, 1.2))


def stills(sources: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Return views, float32 (n, 64, 64)."""
    return np.stack([view(sources, rng) for _ in range(count)])


def film(one: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Return frames of a film: the view slides with the breath and has new noise, float32 (n, 64, 64)."""
    phase = rng.uniform(0, 2 * np.pi, count)
    moved = np.empty((count, SIDE, SIDE), np.float32)
    for frame, angle in enumerate(phase):
        slide = np.array([[1, 0, 1.2 * np.cos(angle)], [0, 1, 0.4 * np.sin(angle)]], np.float32)
        moved[frame] = cv2.warpAffine(one, slide, (SIDE, SIDE))
    return moved * (1 + np.float32(0.15) * rng.standard_normal(moved.shape, np.float32))


def black(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return black frames with noise of a level and, on half of them, a burned-in line, (n, 64, 64)."""
    frames = (rng.random((count, SIDE, SIDE)) < 0.02).astype(np.float32)
    frames[: count // 2, 2:5, 4:40] += 200
    return frames


def hashes(count: int, draw: Callable[[int], np.ndarray]) -> list[str]:
    """Return the hashes of as many pictures, which are drawn in blocks."""
    return [one for start in range(0, count, BLOCK) for one in hashed(draw(min(BLOCK, count - start)))]


def hashed(thumbnails: np.ndarray) -> list[str]:
    """Return the perceptual hashes of thumbnails (n, 64, 64), as `survey.perceptual_hash`."""
    cosines = dct(np.eye(SIDE), axis=0)[:LOW].astype(np.float32)
    low = (cosines @ thumbnails @ cosines.T).reshape(len(thumbnails), -1)
    bits = np.packbits(low > np.median(low, axis=1, keepdims=True), axis=1)
    return [row.tobytes().hex() for row in bits]


def measure(count: int, sources: np.ndarray) -> None:
    """Print the cost of clusters and of neighbours in 41 sets, the number that the audit asks for."""
    given = archive(count, sources)
    codes, _ = distinct(given)
    print(f"{count:,} hashes, {len(codes):,} distinct", flush=True)
    found = staged("clusters", lambda: linked_codes(codes, NEAR_BITS))
    root, pairs = found.root, len(codes) * (len(codes) - 1) / 2
    print(f"  {len(np.unique(root)):,} clusters, the largest of {np.bincount(root).max():,}")
    print(f"  compared {found.compared:,} pairs, {found.compared / pairs:.2%} of all")
    members = np.random.default_rng(1).random((count, SETS)) < 0.7
    staged(f"neighbours in {SETS} sets", lambda: near_any(given, members))
    if count == EXACT:
        forest = staged("clusters by all pairs", lambda: linked_in_tiles(codes, NEAR_BITS))
        print(f"  equal: {np.array_equal(forest.root, root)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hashes", type=int, nargs="+", default=[10_000, EXACT, 100_000])
    parser.add_argument("--pictures", type=Path, help="folder of further pictures")
    options = parser.parse_args()
    sources = pictures(options.pictures)
    for count in options.hashes:
        measure(count, sources)


if __name__ == "__main__":
    main()
