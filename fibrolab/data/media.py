"""Media of a sample: a file with the frame and the rectangle that are used."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from fibrolab.data.box import Box
from fibrolab.errors import UnreadableImageError

MIDDLE = "middle"  # the middle frame of a clip
# Rectangles that are detected in each screen capture of elastography (`fibrolab.data.screen_capture`).
NAMED_BOXES = ("grey_panel", "colour_box")
ONE_PASS = 1024  # parts of one file after which it is read again: their results are in memory together
_DIGITS = 9  # of the largest count in a cell; Python refuses to convert more than 4,300
_SHOWN = 40  # characters of a cell that a message repeats
T = TypeVar("T")


@dataclass(frozen=True)
class Decode:
    """Corrections of what files state wrongly about their pixels; None: as the file says.

    Attributes:
        colour: Colour space of the stored colours, `rgb` or `ycbcr`: of DICOM files labelled RGB, YBR_FULL or
            YBR_FULL_422, and of pictures.
        planes: Order of the colours in uncompressed DICOM files: `by_pixel` or `by_plane`.
        bits: Bits that are used, 8 to 16, of the 16 that a level has in DICOM files and grey pictures.
    """

    colour: str | None = None
    planes: str | None = None
    bits: int | None = None

    def __str__(self) -> str:
        """Return a name of the corrections, empty without any."""
        return _named((field.name, getattr(self, field.name)) for field in fields(self))


AS_STATED = Decode()


@dataclass(frozen=True)
class View:
    """The part of a file that is used, and how it is decoded.

    Attributes:
        frame: Number of the frame, from 0, or `middle`; None for a file with one image.
        box: A rectangle, the name of one to be detected (`NAMED_BOXES`), or None for the whole image.
        decode: Corrections of what the file states about its pixels.
    """

    frame: int | str | None = None
    box: Box | str | None = None
    decode: Decode = AS_STATED

    def __str__(self) -> str:
        """Return a name of the view, empty for a whole image."""
        part = _named((("frame", self.frame), ("box", self.box)))
        return "&".join(filter(None, (part, str(self.decode))))

    @property
    def uncut(self) -> "View":
        """The view of the same frame without a rectangle."""
        return replace(self, box=None)

    @classmethod
    def parse(cls, frame: str = "", box: str = "") -> "View":
        """Parse two cells of a manifest, empty for the whole file.

        Raises:
            ValueError: A cell is not a frame or not a rectangle; the message says what is allowed.
        """
        frame, box = frame.strip(), box.strip()
        if frame and frame != MIDDLE and not _is_count(frame):
            raise ValueError(f"frame {frame[:_SHOWN]!r} is neither a number from 0 nor '{MIDDLE}'")
        number = int(frame) if _is_count(frame) else frame or None
        if not box or box in NAMED_BOXES:
            return cls(number, box or None)
        sides = re.findall(r"\S+", box)
        numbers = [int(side) for side in sides if _is_count(side)]
        if len(sides) != 4 or len(numbers) != 4 or 0 in numbers[2:]:
            raise ValueError(
                f"roi {box[:_SHOWN]!r} is not a rectangle: give 'left top width height' in whole pixels, "
                f"width and height above 0, or one of {', '.join(NAMED_BOXES)}"
            )
        return cls(number, Box(*numbers))

    def digest(self, file_digest: str) -> str:
        """Return a SHA-256 for this part of a file, given the file's SHA-256."""
        if not str(self):
            return file_digest
        return hashlib.sha256(f"{file_digest} {self}".encode()).hexdigest()

    def frame_of(self, frames: int, path: Path) -> int:
        """Return the number of the frame that is used in a file with this number of frames.

        Raises:
            UnreadableImageError: The file has no such frame, or it has several and none is given.
        """
        if self.frame == MIDDLE:
            return frames // 2
        if self.frame is None and frames > 1:
            raise UnreadableImageError(
                f"{path}: holds {frames} frames; choose one in a table's column `frame` (a number, or "
                f"'{MIDDLE}'; with data=folder: data.take_frames={MIDDLE}), or give the file in the column "
                "`clip`"
            )
        number = int(self.frame or 0)
        if number >= frames == 1:
            raise UnreadableImageError(
                f"{path}: is one image, without a frame {number}; if the table's column `frame` means "
                "something else, set data.columns.frame=null"
            )
        if number >= frames:
            raise UnreadableImageError(f"{path}: has no frame {number}; its {frames} frames count from 0")
        return number

    def cut(self, pixels: np.ndarray, path: Path) -> np.ndarray:
        """Cut the rectangle out of an image (H, W) or (H, W, 3); see `rectangle`."""
        return self.rectangle(pixels, path).of(pixels)

    def rectangle(self, pixels: np.ndarray, path: Path) -> Box:
        """Return the rectangle that is used of an image (H, W) or (H, W, 3).

        Raises:
            UnreadableImageError: The rectangle exceeds the image, or a named one is not detected.
        """
        if self.box is None:
            return Box(0, 0, pixels.shape[1], pixels.shape[0])
        box = _detected(self.box, pixels, path) if isinstance(self.box, str) else self.box
        height, width = pixels.shape[:2]
        if box.left + box.width > width or box.top + box.height > height:
            raise UnreadableImageError(
                f"{path}: the rectangle {box} (left top width height) exceeds the image of "
                f"{width} x {height} pixels"
            )
        return box


class Media(NamedTuple):
    """One image, clip or mask.

    Attributes:
        path: The file.
        view: The part of the file that is used.
        labelled: For a mask, the image whose pixels it labels.
        mask: For an image, its mask, if it has one; it is only read where images are cropped to their masks.
    """

    path: Path
    view: View = View()
    labelled: "Media | None" = None
    mask: Path | None = None


def whole(paths: Sequence[Path]) -> list[Media]:
    """Return the media of whole files."""
    return [Media(path) for path in paths]


def by_file(
    items: Iterable[tuple[Media, T]], most: int = ONE_PASS, pairs: bool = False
) -> list[list[tuple[Media, T]]]:
    """Group media with what belongs to them by their file, which is then read once for a whole group.

    Args:
        items: The media, in any order.
        most: Largest size of a group.
        pairs: Also group media of different files by the one file that is read with them: the image that they
            label, or their mask.

    Returns:
        The groups in the order of their first items; frames of one group ascend, as a film is decoded.
    """
    given = list(items)
    repeated = Counter(media.path for media, _ in given) if pairs else Counter()
    files: dict[Path, list[tuple[Media, T]]] = {}
    for item in given:
        media = item[0]
        alone = pairs and repeated[media.path] == 1
        beside = media.labelled.path if media.labelled else media.mask
        files.setdefault(beside if alone and beside else media.path, []).append(item)
    groups = []
    for found in files.values():
        found.sort(key=_frame_number)
        groups += [found[start : start + most] for start in range(0, len(found), most)]
    return groups


def batches(groups: Iterable[list[T]], items: int, at_least: int) -> Iterator[list[list[T]]]:
    """Join groups into batches of this number of items or more, and of at least so many groups."""
    batch: list[list[T]] = []
    count = 0
    for group in groups:
        batch.append(group)
        count += len(group)
        if len(batch) >= at_least and count >= items:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _frame_number(item: tuple[Media, object]) -> tuple[str, int]:
    """Return the file and the frame of a picture, or of the picture that a mask labels."""
    shown = item[0].labelled or item[0]
    frame = shown.view.frame
    return str(shown.path), frame if isinstance(frame, int) else -1


def _detected(name: str, pixels: np.ndarray, path: Path) -> Box:
    """Detect one of `NAMED_BOXES` in a screen capture."""
    from fibrolab.data import screen_capture

    squares = screen_capture.squares(pixels, path)
    return squares.colour if name == "colour_box" else squares.grey


def _named(parts: Iterable[tuple[str, object]]) -> str:
    return "&".join(f"{name}={value}" for name, value in parts if value is not None)


def _is_count(cell: str) -> bool:
    return cell.isdecimal() and len(cell) <= _DIGITS
