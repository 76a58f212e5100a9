"""Reading of one file into pixels, in the format of its content (not its suffix); damaged files are refused.

`formats.recognition.KINDS` names the modules that read files, each a `contract.Format`: `pictures` (JPEG,
PNG, TIFF and similar formats), `dicom` and `video`. Each is imported when the first such file is read.
"""

import hashlib
import importlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fibrolab.data.formats import recognition
from fibrolab.data.formats.contract import Clip, Format, Header, Inspect, UnsupportedError
from fibrolab.data.media import Media, View
from fibrolab.errors import UnreadableImageError

if TYPE_CHECKING:
    from fibrolab.data.formats.label_maps import Labels, Target

LARGEST_FILE = 2**31  # bytes; two minutes of uncompressed film in 640 x 480 and colour are 3/4 of it
_WHOLE = View()
# Exceptions by which Python reports a mistake in the code that raises them.
_MISTAKES = (AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError)
# Words of Pillow, pydicom and FFmpeg for what they do not decode.
_UNSUPPORTED = re.compile(
    r"unsupported|(not|n't) (yet )?(supported|available|implemented)|unknown pixel mode|(de)?coder not found",
    re.IGNORECASE,
)


def read_image(path: Path, view: View = _WHOLE) -> np.ndarray:
    """Read an image as it was stored: grey stays grey, everything else becomes RGB.

    Args:
        path: An image, DICOM or video file.
        view: The frame and the rectangle that are used.

    Returns:
        uint8 pixels, ``(H, W)`` for grey files (any depth, with or without alpha), else ``(H, W, 3)``.

    Raises:
        UnreadableImageError: the file is missing, empty or truncated, or lacks the frame or rectangle.
    """
    return decode(read_bytes(path), path, view)


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        UnreadableImageError: the file cannot be opened, is empty, larger than `LARGEST_FILE`, or no file but
            a folder, pipe, socket or device, of which reading might never end.
    """
    try:
        stats = path.stat()
        if not stat.S_ISREG(stats.st_mode):
            raise UnreadableImageError(f"{path}: is {kind_of_node(stats)}, not a file")
        if stats.st_size > LARGEST_FILE:
            raise UnreadableImageError(
                f"{path}: has {stats.st_size / 2**20:,.0f} MiB; files of up to {LARGEST_FILE // 2**20:,} MiB "
                "are read. Cut a film to the seconds that are needed"
            )
        content = path.read_bytes()
    except FileNotFoundError:
        raise UnreadableImageError(f"{path}: there is no such file") from None
    except OSError as error:
        raise UnreadableImageError(f"{path}: cannot be opened ({error.strerror})") from None
    if not content:
        raise UnreadableImageError(f"{path}: the file is empty (zero bytes)")
    return content


def kind_of_node(stats: os.stat_result) -> str:
    """Return what a path is that leads to no regular file, such as `a pipe (FIFO)`."""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe (FIFO)",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(stats.st_mode), "a special file")


def decode(content: bytes, path: Path, view: View = _WHOLE) -> np.ndarray:
    """Decode the bytes of a file, see `read_image`; `path` is only named in the errors."""
    return OpenFile(path, content).inspect(view)[1]


def decode_labels(content: bytes, path: Path, image: Media | None = None) -> np.ndarray:
    """Decode a label map, uint8 (H, W): the numbers as the file stores them.

    Args:
        content: Bytes of the file.
        path: Its path, which is only named in errors.
        image: The image that it labels, by which its part of a DICOM SEG or NIfTI of several images is found.

    Raises:
        UnreadableImageError: The file is damaged, neither an image file nor DICOM SEG nor NIfTI, compressed
            with loss, has more than one 8-bit number per pixel, or labels other images.
    """
    return OpenFile(path, content).labels(image)


def spacing(path: Path) -> tuple[float, float] | None:
    """Return height and width of a pixel [mm] as a DICOM or NIfTI file states them; None of other files.

    Raises:
        UnreadableImageError: The file cannot be opened, or is damaged.
    """
    from fibrolab.data.formats import label_maps

    content = read_bytes(path)
    with _unreadable_errors(path):
        if recognition.is_dicom(content):
            return label_maps.spacing_of_dicom(content)
        return label_maps.spacing_of_nifti(content, path) if label_maps.is_nifti(content) else None


def patient_and_date(path: Path) -> tuple[str, str]:
    """Return the patient's id and the date of the study (2024-01-31) in the header of a DICOM file.

    Each is empty where the header has none, and of other files.

    Raises:
        UnreadableImageError: The file cannot be opened, or is damaged.
    """
    if not is_dicom(path):
        return "", ""
    from fibrolab.data.formats import dicom_identity

    content = read_bytes(path)
    with _unreadable_errors(path):
        return dicom_identity.patient_and_date(content)


def is_dicom(path: Path) -> bool:
    """Return whether a file is a DICOM file, by its first bytes.

    Raises:
        UnreadableImageError: The file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            return recognition.is_dicom(file.read(recognition.HEAD))
    except OSError as error:
        raise UnreadableImageError(f"{path}: cannot be opened ({error.strerror})") from error


def decode_clip(content: bytes, path: Path, view: View = _WHOLE) -> Clip:
    """Decode the bytes of a clip, corrected as its view says; `path` is only named in the errors.

    Raises:
        UnreadableImageError: The clip is truncated, changes its size, has fewer than two frames or more
            pixels than `LARGEST_CLIP`.
    """
    with _unreadable_errors(path):
        clip = _format(content, path).clip(content, path, view)
    if len(clip.frames) == 1:
        raise UnreadableImageError(
            f"{path}: holds one frame: a picture, not a clip; give it in the column `image`"
        )
    return clip


def describe(content: bytes, path: Path) -> Header:
    """Return the header of a file; of all formats, only a video is decoded, to count its frames."""
    with _unreadable_errors(path):
        return _format(content, path).header(content, path)


class OpenFile:
    """A file that is read, hashed and parsed once, however many of its frames are wanted.

    Only one thread at a time may use it.

    Attributes:
        path: The file, which is named in the errors.
        content: Its bytes.
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        """Read the file, unless its bytes are given.

        Raises:
            UnreadableImageError: see `read_bytes`.
        """
        self.path, self.content = path, read_bytes(path) if content is None else content
        self._inspect: Inspect | None = None
        self._labels: Labels | None = None

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the bytes, hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    def inspect(self, view: View = _WHOLE) -> tuple[Header, np.ndarray]:
        """Return header and decoded pixels; the header describes the whole image, not the cut.

        Raises:
            UnreadableImageError: see `read_image`.
        """
        parsed, self._inspect = self._inspect, None  # a decoder that raises is not used again
        with _unreadable_errors(self.path):
            parsed = parsed or _format(self.content, self.path).opened(self.content, self.path)
            header, pixels = parsed(view)
        self._inspect = parsed
        return header, view.cut(pixels, self.path)

    def labels(self, image: Media | None = None, images: "Latest | None" = None) -> np.ndarray:
        """Decode a label map, see `decode_labels`.

        Args:
            image: The image that it labels.
            images: Opens this image if the label map is one of several; None opens it anew.
        """
        with _unreadable_errors(self.path):
            if self._labels is None:
                self._labels = _labels(self.content, self.path)
            return self._labels(partial(_target, image, images or Latest()) if image else None)

    @cached_property
    def frames(self) -> int:
        """Number of frames."""
        return describe(self.content, self.path).frames

    @cached_property
    def uid(self) -> str:
        """SOP Instance UID of a DICOM file, else empty."""
        from fibrolab.data.formats import label_maps

        return label_maps.uid_of(self.content) if recognition.is_dicom(self.content) else ""


class Latest:
    """Opens files and keeps the last one: parts of one file that are wanted in turn need one reading.

    Only one thread at a time may use it.
    """

    def __init__(self) -> None:
        self._file: OpenFile | None = None

    def __call__(self, path: Path) -> OpenFile:
        """Return an open file.

        Raises:
            UnreadableImageError: see `read_bytes`.
        """
        if self._file is None or self._file.path != path:
            self._file = None  # its memory, before another is read
            self._file = OpenFile(path)
        return self._file


def _labels(content: bytes, path: Path) -> "Labels":
    """Parse a label map, see `decode_labels`."""
    from fibrolab.data.formats import label_maps, pictures

    if recognition.is_dicom(content):
        return label_maps.opened_dicom(content, path)
    if label_maps.is_nifti(content):
        return label_maps.opened_nifti(content, path)
    picture = pictures.labels(content, path)
    return lambda _: picture


def _target(image: Media, images: Latest) -> "Target":
    """Return what a label map of several images has to know of the image that it labels."""
    from fibrolab.data.formats import label_maps

    file = images(image.path)
    frame = image.view.frame_of(file.frames, image.path)
    return label_maps.Target(image.path.name, file.uid, frame, file.frames)


def _format(content: bytes, path: Path) -> Format:
    """Return the module that reads files with these bytes."""
    kind = recognition.kind_of(content[: recognition.HEAD])
    if kind is None:
        name = recognition.foreign(content[: recognition.HEAD])
        raise UnreadableImageError(
            f"{path}: is {name}, which is not read; convert it to one of {recognition.SUPPORTED}"
        )
    found: Format = importlib.import_module(f"fibrolab.data.formats.{kind.module}")
    return found


@contextmanager
def _unreadable_errors(path: Path) -> Iterator[None]:
    """Turn a decoder's exceptions, which are of many types for damaged bytes, into UnreadableImageError.

    A fault of this package keeps its traceback.
    """
    try:
        yield
    except UnreadableImageError:
        raise
    except Exception as error:
        if type(error) is MemoryError:  # FFmpeg's subclass of it means a damaged size, not a full memory
            raise
        if isinstance(error, _MISTAKES) and _is_ours(error):
            raise
        reason = " ".join(str(error).split())
        if isinstance(error, UnsupportedError | NotImplementedError) or _UNSUPPORTED.search(reason):
            raise UnreadableImageError(
                f"{path}: is of a kind that is not supported ({reason}); convert it to PNG, to uncompressed "
                "DICOM or, if it is a film, to MP4"
            ) from None
        raise UnreadableImageError(f"{path}: truncated or damaged ({reason})") from None


def _is_ours(error: Exception) -> bool:
    """Return whether the code that raised a built-in exception is in this package."""
    name, traceback = "", error.__traceback__
    while traceback is not None:
        name, traceback = traceback.tb_frame.f_globals.get("__name__", ""), traceback.tb_next
    ours = name.partition(".")[0] == __name__.partition(".")[0]
    return ours and type(error).__module__ == "builtins"
