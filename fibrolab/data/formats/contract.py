"""The interface of the format modules: header, clip, and limits on the pixels held in memory."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from fibrolab.data.media import View
from fibrolab.errors import UnreadableImageError

LARGEST_SCAN = 2**26  # pixels of one image, 8192 x 8192; a small file can declare, and unpack to, far more
LARGEST_CLIP = 2**28  # pixels of a clip in memory: half a minute of 640 x 480 at 30 frames a second

BURNED_IN = "BurnedInAnnotation=YES"  # in `Header.identity`: the pixels show who it is (PS3.3, C.7.6.1.1.5)


class UnsupportedError(Exception):
    """A file that is whole, but of a kind that is not read; the reader names the file and what to do."""


class Header(NamedTuple):
    """Properties that a file states about its pixels.

    Attributes:
        width: Width of the whole image, upright [px].
        height: Height of the whole image, upright [px].
        mode: Pillow's mode, DICOM's photometric interpretation, or the pixel format of a video.
        format: Format and compression, recognised by the content, such as `JPEG`, `DICOM JPEGBaseline8Bit` or
            `MP4 h264`.
        frames: Number of images in the file; counted in a video, since its container only estimates it.
        fps: Frames a second; 0 for one image, or if the file does not state it.
        identity: Names of the fields of the DICOM header that still identify the patient, and what it
            declares of that (`dicom_identity`).
        pixel_aspect: Height of a pixel divided by its width; 1 if the file states neither.
        profile_shift: Levels by which the colour profile of a picture shows a grey otherwise, at most.
    """

    width: int
    height: int
    mode: str
    format: str
    frames: int = 1
    fps: float = 0.0
    identity: tuple[str, ...] = ()
    pixel_aspect: float = 1.0
    profile_shift: int = 0


class Clip(NamedTuple):
    """A decoded clip.

    Attributes:
        frames: Grey levels, uint8 (N, H, W), N at least 2.
        fps: Mean number of frames a second; 0 if the file does not state it.
    """

    frames: np.ndarray
    fps: float


# Function of a view of one file, for one thread at a time. It returns the header of the file and the whole
# frame of the view, uint8 (H, W) or (H, W, 3).
Inspect = Callable[[View], tuple[Header, np.ndarray]]


class Format(Protocol):
    """Functions of a module that reads one kind of file."""

    def header(self, content: bytes, path: Path) -> Header:
        """Return the header of the file."""

    def opened(self, content: bytes, path: Path) -> Inspect:
        """Parse the file once for all of its frames that are wanted."""

    def clip(self, content: bytes, path: Path, view: View) -> Clip:
        """Return all frames in grey, even if there is only one; of the view, only `decode` is used."""


def to_grey(image: np.ndarray) -> np.ndarray:
    """Return the luma (ITU-R BT.601) of uint8 ``(H, W, 3)``; a grey image ``(H, W)`` is returned unchanged.

    Pixels with R = G = B keep their level exactly, so a grey image saved as RGB gives the same levels.
    """
    return image if image.ndim == 2 else np.asarray(Image.fromarray(image).convert("L"))


def require_scan(width: int, height: int, path: Path) -> None:
    """Refuse more pixels than an ultrasound image can have, before a decoder allocates memory for them.

    Raises:
        UnreadableImageError: There are more than `LARGEST_SCAN`.
    """
    if width * height > LARGEST_SCAN:
        raise UnreadableImageError(f"{path}: {width} x {height} pixels are too many for an ultrasound image")


def require_bits(levels: np.ndarray, lowest: int, highest: int, path: Path) -> None:
    """Refuse levels that do not fit into the bits that `data.decode.bits` says are used.

    Raises:
        UnreadableImageError: A level is below the lowest or above the highest of these bits.
    """
    if levels.min() < lowest or levels.max() > highest:
        raise UnreadableImageError(
            f"{path}: its levels reach from {levels.min()} to {levels.max()}, and the bits of "
            f"data.decode.bits hold {lowest} to {highest}"
        )


def stacked(frames: Iterable[np.ndarray], path: Path) -> np.ndarray:
    """Stack frames (H, W) into one array (N, H, W).

    Raises:
        UnreadableImageError: There is no frame, or they have more than `LARGEST_CLIP` pixels.
    """
    kept: list[np.ndarray] = []
    for frame in frames:
        if kept and frame.shape != kept[0].shape:
            (height, width), (rows, columns) = kept[0].shape, frame.shape
            raise UnreadableImageError(
                f"{path}: is no clip, since its frames change their size, from {width} x {height} to "
                f"{columns} x {rows} pixels at frame {len(kept)}"
            )
        kept.append(frame)
        if len(kept) * frame.size > LARGEST_CLIP:
            raise UnreadableImageError(
                f"{path}: more than {len(kept) - 1} frames of {frame.shape[1]} x {frame.shape[0]} pixels; "
                "a clip this long does not fit in memory; cut it to the seconds that are needed"
            )
    if not kept:
        raise UnreadableImageError(f"{path}: holds no frame")
    return np.stack(kept)
