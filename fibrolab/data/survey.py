"""Survey: measurements of every sample's file before training, stored between runs."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from fibrolab.data import pixel_plausibility
from fibrolab.data.file_facts import measured
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.media import MIDDLE, Media
from fibrolab.data.readers import OpenFile
from fibrolab.errors import DataError, UnreadableImageError

BORDERS = ("border_top", "border_bottom", "border_left", "border_right")
# Value of each column for a file that cannot be read.
EMPTY = {
    "sha256": "",
    "file_sha256": "",
    "n_bytes": 0,
    "width": 0,
    "height": 0,
    "mode": "",
    "format": "",
    "frames": 0,
    "fps": 0.0,
    "identity": "",
    "pixel_aspect": 1.0,
    "profile_shift": 0,
    "cut_width": 0,
    "cut_height": 0,
    "pixels": "",
    "phash": "",
    "thumbnail": b"",
    "mean": 0.0,
    "sd": 0.0,
    "black": 0.0,
    "lowest": 0,
    "highest": 0,
    "impossible_colours": 0.0,
    "tiled": 0,
    **dict.fromkeys(BORDERS, 0.0),
    "error": "",
}
FACTS = tuple(EMPTY)
THUMBNAILS = "thumbnail"  # column of 1 KB a row, which `thumbnails` reads of a few rows
SURVEYED = tuple(name for name in FACTS if name != THUMBNAILS)
# Columns that an audit and its baselines read, and no answer to a new file.
AUDITED = ("pixels", THUMBNAILS, "lowest", "highest", "impossible_colours", "tiled")
ANSWERED = tuple(name for name in FACTS if name not in AUDITED)
VERSION = 13  # raise it when columns are added or measured otherwise: all files are then measured again
_HASH_SIDE = 16  # 16 x 16 low frequencies: a perceptual hash of 256 bits
# A long side is first averaged in blocks, to no less than so many times the thumbnail's (`reducing_gap` of
# Pillow), in a third of the time. Of the Kaggle set's 6,323 pictures no hash changes at 224 px; enlarged to
# 800 x 600, 36 % change, by at most 6 bits.
_HASH_GAP = 3.0
THUMBNAIL = 32  # side [px], used by the nearest-neighbour baseline
_BLACK = 8  # highest grey level that counts as black: compression changes black slightly
_NEARLY_ALL = 0.99  # proportion of black pixels from which a row or column counts as black

# Function of the SHA-256 and the decoded pixels, uint8 (H, W) or (H, W, 3), of the part that is used.
Take = Callable[[str, np.ndarray], None]


def survey(
    media: Sequence[Media],
    cache: Path | None,
    workers: int = 0,
    take: Take | None = None,
    columns: Sequence[str] = SURVEYED,
) -> pd.DataFrame:
    """Measure every sample's file, in the order of `media`.

    Args:
        media: Images; for a clip its middle frame, see `of_clips`.
        cache: Folder of the database `survey.sqlite`; None stores nothing.
        workers: Threads; 0 means one per core.
        take: Called in these threads with the pixels of each file that is measured and can be read, so that
            a second use of them needs no second decoding.
        columns: Measurements to return. Without `cache`, no others are made; what is stored has all `FACTS`.

    Returns:
        One row per sample with these columns. Of the file: SHA-256 of its bytes (`file_sha256`), size
        [bytes], width and height [pixels], mode, format by content, number of frames, frames a second (0 for
        a single image), the DICOM header fields that still identify a person (`identity`), height of a pixel
        divided by its width (`pixel_aspect`), and the most levels by which a colour profile shows a grey
        otherwise than it is stored (`profile_shift`). Of the part that is used: SHA-256 of bytes and view
        (`sha256`); its size `cut_width` and `cut_height` [pixels]; SHA-256 of the decoded grey `pixels`;
        256-bit perceptual hash; thumbnail, 32 x 32 bytes; mean and SD of the grey levels; proportion of black
        pixels; lowest and highest level; proportion of impossible colours, and whether the image is tiled
        (`pixel_plausibility`, 0 or 1); black border on each side as a proportion of the side. `error` is
        empty for a readable file.

    Raises:
        StorageError: The database cannot be read or written.
    """
    made = columns if cache is None else FACTS
    measure = partial(_facts, take=take, columns=made)
    return measured(media, cache, f"files_{VERSION}", made, measure, "Surveying files", workers, columns)


def thumbnails(media: Sequence[Media], cache: Path | None) -> np.ndarray:
    """Return the thumbnails of pictures, uint8 (n, 1024), which a survey has stored in `cache`.

    Raises:
        DataError: A file can no longer be read.
        StorageError: The database cannot be read or written.
    """
    found = survey(media, cache, columns=(THUMBNAILS, "error"))
    for item, error in zip(media, found["error"], strict=True):
        if error:
            raise DataError(
                f"{item.path} {error}, and could be read when the data were surveyed. Start again when the "
                "files no longer change."
            )
    return np.frombuffer(b"".join(found[THUMBNAILS]), np.uint8).reshape(len(media), THUMBNAIL**2)


def of_clips(media: Sequence[Media]) -> list[Media]:
    """Return the middle frames of clips, which the survey measures in addition to the whole file."""
    return [Media(item.path, replace(item.view, frame=MIDDLE)) for item in media]


def unreadable(
    media: Sequence[Media], facts: pd.DataFrame, root: Path, rows: Iterable[int] | None = None
) -> list[str]:
    """Return a sentence on each sample that cannot be read.

    Args:
        media: The samples.
        facts: Their survey.
        root: Folder that file names in sentences are relative to.
        rows: Rows of the samples in the user's table, if there is one.
    """
    prefixes = [""] * len(media) if rows is None else [f"row {row}: " for row in rows]
    return [
        f"{prefix}{item.path.relative_to(root) if item.path.is_relative_to(root) else item.path}: {error}"
        for prefix, item, error in zip(prefixes, media, facts["error"], strict=True)
        if error
    ]


def perceptual_hash(grey: np.ndarray) -> str:
    """Compute the 256-bit perceptual hash of an image (H, W), hexadecimal.

    Each bit states whether one of the 16 x 16 lowest frequencies of a 64 x 64 thumbnail's cosine transform is
    above their median (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010,
    3.2.1). Sides of at least 384 pixels are averaged in blocks before they are resampled.
    """
    from scipy.fft import dctn

    side = 4 * _HASH_SIDE
    picture, smooth = Image.fromarray(grey), Image.Resampling.LANCZOS
    thumbnail = picture.resize((side, side), smooth, reducing_gap=_HASH_GAP)
    low = dctn(np.asarray(thumbnail, np.float64))[:_HASH_SIDE, :_HASH_SIDE].ravel()
    middle = low.size // 2
    median = np.partition(low, (middle - 1, middle))[middle - 1 : middle + 1].mean()  # faster than np.median
    return np.packbits(low > median).tobytes().hex()


def borders(grey: np.ndarray) -> dict[str, float]:
    """Measure the black rows and columns at each edge of an image, as a proportion of its height or width."""
    return _blackness(grey)[1]


def _blackness(grey: np.ndarray) -> tuple[float, dict[str, float]]:
    """Return the proportion of black pixels of an image (H, W), and its `borders`."""
    black = (grey <= _BLACK).view(np.uint8)
    in_rows, in_columns = (
        cv2.reduce(black, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() for axis in (1, 0)
    )
    height, width = grey.shape
    rows, columns = in_rows / width < _NEARLY_ALL, in_columns / height < _NEARLY_ALL
    total = float(in_rows.sum() / grey.size)
    if not rows.any() or not columns.any():
        return total, dict.fromkeys(BORDERS, 1.0)
    lines = (rows, rows[::-1], columns, columns[::-1])
    return total, {name: float(line.argmax() / len(line)) for name, line in zip(BORDERS, lines, strict=True)}


def _facts(media: Sequence[Media], take: Take | None = None, columns: Sequence[str] = FACTS) -> list[tuple]:
    """Measure the parts of one file that are used, and hand on their pixels; return rows of the survey."""
    try:
        file = OpenFile(media[0].path)
    except UnreadableImageError as error:
        return [_fault(media[0], error, columns)] * len(media)
    return [_facts_of(file, item, take, columns) for item in media]


def _fault(item: Media, error: UnreadableImageError, columns: Sequence[str]) -> tuple:
    return _row({"error": str(error).removeprefix(f"{item.path}: ")}, columns)


def _facts_of(file: OpenFile, item: Media, take: Take | None, columns: Sequence[str]) -> tuple:
    try:
        header, pixels = file.inspect(item.view)
    except UnreadableImageError as error:
        return _fault(item, error, columns)
    grey = np.ascontiguousarray(to_grey(pixels))
    digest = item.view.digest(file.sha256)
    if take is not None:
        take(digest, pixels)
    mean, sd = (float(value[0, 0]) for value in cv2.meanStdDev(grey))
    black, edges = _blackness(grey)
    found = {
        "sha256": digest,
        "file_sha256": file.sha256,
        "n_bytes": len(file.content),
        "width": header.width,
        "height": header.height,
        "mode": header.mode,
        "format": header.format,
        "frames": header.frames,
        "fps": float(header.fps),
        "identity": ",".join(header.identity),
        "pixel_aspect": float(header.pixel_aspect),
        "profile_shift": header.profile_shift,
        "cut_width": grey.shape[1],
        "cut_height": grey.shape[0],
        "phash": perceptual_hash(grey),
        "mean": mean,
        "sd": sd,
        "black": black,
        **edges,
    }
    return _row(found | (_audited(pixels, grey) if set(columns) & set(AUDITED) else {}), columns)


def _audited(pixels: np.ndarray, grey: np.ndarray) -> dict[str, object]:
    """Return the measurements `AUDITED` of an image, uint8 (H, W) or (H, W, 3), with its grey levels."""
    small = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    lowest, highest, *_ = cv2.minMaxLoc(grey)
    return {
        "pixels": hashlib.sha256(str(grey.shape).encode() + grey.tobytes()).hexdigest(),
        THUMBNAILS: small.tobytes(),
        "lowest": int(lowest),
        "highest": int(highest),
        "impossible_colours": pixel_plausibility.impossible_colours(pixels),
        "tiled": int(pixel_plausibility.is_tiled(grey)),
    }


def _row(found: Mapping[str, object], columns: Sequence[str]) -> tuple:
    """Return a row of the survey; what is not found is `EMPTY`."""
    known = {**EMPTY, **found}
    return tuple(known[name] for name in columns)
