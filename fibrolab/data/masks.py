"""Masks: label maps, which get the same rectangle and crop as the images that they label."""

import hashlib
from collections.abc import Sequence

import numpy as np

from fibrolab.data.formats.contract import to_grey
from fibrolab.data.media import Media, View
from fibrolab.data.readers import decode, decode_labels, read_bytes
from fibrolab.errors import DataError, UnreadableImageError, listing


def digests(media: Sequence[Media], pictures: Sequence[str]) -> list[str]:
    """Return a SHA-256 for each mask's pixels, of its file and of the image that it labels.

    Args:
        media: The masks, see `Manifest.masks`.
        pictures: SHA-256 of each image and its view, from the survey.

    Raises:
        DataError: Masks that cannot be opened, all of them at once.
    """
    found, faults = [], []
    for mask, picture in zip(media, pictures, strict=True):
        try:
            found.append(_digest(read_bytes(mask.path), picture))
        except UnreadableImageError as error:
            faults.append(str(error))
    if faults:
        raise DataError(f"{len(faults)} masks cannot be opened:\n{listing(faults)}")
    return found


def digest(content: bytes, mask: Media) -> str:
    """Return the SHA-256 for a mask's pixels, see `digests`, from the bytes of its file.

    Raises:
        UnreadableImageError: The image that it labels cannot be opened.
    """
    assert mask.labelled is not None, "a mask labels an image"
    path, view = mask.labelled.path, mask.labelled.view
    return _digest(content, view.digest(hashlib.sha256(read_bytes(path)).hexdigest()))


def decoded(content: bytes, mask: Media) -> tuple[np.ndarray, np.ndarray]:
    """Decode a mask, and the image that it labels, which determines how both are cropped.

    Args:
        content: Bytes of the mask's file.
        mask: The mask.

    Returns:
        Labels and grey levels in the image's view, uint8 (H, W) both.

    Raises:
        UnreadableImageError: The mask is not a label map or not as large as its image, or the image cannot be
            read.
    """
    assert mask.labelled is not None, "a mask labels an image"
    path, view = mask.labelled.path, mask.labelled.view
    labels = decode_labels(content, mask.path)
    image = decode(read_bytes(path), path, View(view.frame))
    if labels.shape != image.shape[:2]:
        (height, width), (rows, columns) = labels.shape, image.shape[:2]
        raise UnreadableImageError(
            f"{mask.path}: the mask has {width} x {height} pixels, its image {path.name} {columns} x {rows}"
        )
    box = view.rectangle(image, path)
    return box.of(labels), to_grey(box.of(image))


def _digest(content: bytes, picture: str) -> str:
    return hashlib.sha256(f"{hashlib.sha256(content).hexdigest()} labels {picture}".encode()).hexdigest()
