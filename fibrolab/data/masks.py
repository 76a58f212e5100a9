"""Masks: label maps, which get the same rectangle and crop as the images that they label."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fibrolab.data.box import Box
from fibrolab.data.fault_sentences import rows_named
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.media import Media
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import decode, decode_labels, read_bytes
from fibrolab.errors import DataError, UnreadableImageError, listing
from fibrolab.mask_classes import NO_CLASS, MaskClasses


def digests(media: Sequence[Media], pictures: Sequence[str]) -> list[str]:
    """Return a SHA-256 for each mask's pixels, of its file and of the image that it labels.

    Args:
        media: The masks, see `Manifest.masks`.
        pictures: SHA-256 of each image and its view, from the survey.

    Raises:
        DataError: Masks that cannot be opened, all of them at once with those that cannot be decoded or are
            not as large as their image.
    """
    try:
        return _all_read([mask.path for mask in media], pictures, _digest)
    except DataError as error:
        faults = list(dict.fromkeys(filter(None, map(_fault, media))))
        raise DataError(f"Masks that cannot be used: {len(faults)}.\n{listing(faults)}") from error


def _fault(mask: Media) -> str:
    """Return why a mask cannot be used; empty if it can."""
    try:
        labelled(read_bytes(mask.path), mask)
    except UnreadableImageError as error:
        return str(error)
    return ""


def digest(content: bytes, mask: Media) -> str:
    """Return the SHA-256 for a mask's pixels, see `digests`, from the bytes of its file.

    Raises:
        UnreadableImageError: The image that it labels cannot be opened.
    """
    assert mask.labelled is not None, "a mask labels an image"
    path, view = mask.labelled.path, mask.labelled.view
    return _digest(content, view.digest(hashlib.sha256(read_bytes(path)).hexdigest()))


class Labelled(NamedTuple):
    """A mask and the image that it labels, both as the image's rectangle shows them.

    Attributes:
        labels: Grey levels of the mask, uint8 (H, W).
        image: Grey levels of the image, uint8 (H, W).
        box: The rectangle in the picture of the file.
        size: Height and width of that picture [px].
    """

    labels: np.ndarray
    image: np.ndarray
    box: Box
    size: tuple[int, int]


def enlarged(probabilities: np.ndarray, seen: Box, size: tuple[int, int]) -> np.ndarray:
    """Return probabilities of a network's square input at the pixels of the image, float32 (K, H, W).

    Args:
        probabilities: Of each class, background first, (K, h, w).
        seen: The rectangle of the image that was resized to the input; elsewhere all is background.
        size: Height and width of the image [px].
    """
    found = np.zeros((len(probabilities), *size), np.float32)
    found[0] = 1
    for level, plane in zip(found, probabilities, strict=True):
        seen.of(level)[:] = cv2.resize(np.asarray(plane, np.float32), (seen.width, seen.height))
    return found


def decoded(content: bytes, mask: Media) -> tuple[np.ndarray, np.ndarray]:
    """Decode a mask, and the image that it labels, which determines how both are cropped.

    Args:
        content: Bytes of the mask's file.
        mask: The mask.

    Returns:
        Labels and grey levels in the image's view, uint8 (H, W) both.

    Raises:
        UnreadableImageError: As `labelled`.
    """
    found = labelled(content, mask)
    return found.labels, found.image


def labelled(content: bytes, mask: Media) -> Labelled:
    """Decode a mask and the image that it labels.

    Args:
        content: Bytes of the mask's file.
        mask: The mask.

    Raises:
        UnreadableImageError: The mask is not a label map or not as large as its image, or the image cannot be
            read.
    """
    assert mask.labelled is not None, "a mask labels an image"
    path, view = mask.labelled.path, mask.labelled.view
    labels = decode_labels(content, mask.path, mask.labelled)
    image = decode(read_bytes(path), path, view.uncut)
    _refuse_other_size(labels, image.shape, mask.path, path)
    box = view.rectangle(image, path)
    return Labelled(box.of(labels), to_grey(box.of(image)), box, labels.shape)


def kept(image: Media, size: tuple[int, ...], used: Box, preprocess: Preprocess) -> np.ndarray:
    """Return which pixels of an image are kept by a crop to its mask.

    Args:
        image: The image, with its mask.
        size: Height and width of the whole picture [px].
        used: The rectangle of the picture that is used.
        preprocess: Settings that say which grey levels of the mask are kept.

    Returns:
        bool (H, W) of the rectangle; at least one is True.

    Raises:
        UnreadableImageError: The mask is no label map, not as large as the picture, or keeps no pixel.
    """
    assert image.mask is not None, "images without a mask are refused before"
    labels = decode_labels(read_bytes(image.mask), image.mask, image)
    _refuse_other_size(labels, size, image.mask, image.path)
    found = preprocess.kept(used.of(labels))
    if not found.any():
        levels = "above 0" if preprocess.crop_levels is None else f"in {list(preprocess.crop_levels)}"
        raise UnreadableImageError(
            f"{image.path}: preprocess.crop=mask keeps none of its pixels, since its mask {image.mask} has "
            f"no grey level {levels} there; leave the sample out, or correct the mask"
        )
    return found


def cropped_digest(picture: str, mask: bytes) -> str:
    """Return the SHA-256 for an image that is cropped to its mask.

    Args:
        picture: SHA-256 of the image and its view.
        mask: Bytes of the mask's file.
    """
    return hashlib.sha256(f"{picture} within {hashlib.sha256(mask).hexdigest()}".encode()).hexdigest()


def cropped_digests(images: Sequence[Media], pictures: Sequence[str]) -> list[str]:
    """Return `cropped_digest` of each image.

    Raises:
        DataError: Masks that cannot be opened, all of them at once.
    """
    paths = [image.mask for image in images if image.mask]
    return _all_read(paths, pictures, lambda mask, picture: cropped_digest(picture, mask))


def mean_mask(levels: Iterable[np.ndarray], classes: MaskClasses) -> np.ndarray:
    """Return the mean training mask: the class of more than half of the masks at each pixel, int64 (h, w).

    Args:
        levels: Grey levels of each training mask as the network gets them, uint8 (h, w).
        classes: Their classes; pixels without a label count in neither half.
    """
    table, numbers = classes.table(), np.arange(len(classes.names))
    counts = sum((table[mask] == numbers[:, None, None]).astype(float) for mask in levels)
    proportions = counts / np.maximum(counts.sum(axis=0), 1)
    likeliest: np.ndarray = proportions.argmax(axis=0)
    return np.where(proportions.max(axis=0) > 1 / 2, likeliest, 0)


def refuse_other_levels(media: Sequence[Media], labels: Iterable[np.ndarray], classes: MaskClasses) -> None:
    """Refuse masks with a grey level that belongs to no class, and masks without any pixel of a class.

    Args:
        media: The masks.
        labels: Their preprocessed pixels, uint8 each.
        classes: The classes.

    Raises:
        DataError: The levels, each with the masks that have it; or all masks are background, or unlabelled.
    """
    table = classes.table()
    found: dict[int, list[str]] = {}
    seen = np.zeros(256, bool)
    for mask, pixels in zip(media, labels, strict=True):
        levels = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256))
        seen[levels] = True
        for level in levels[table[levels] == NO_CLASS].tolist():
            found.setdefault(level, []).append(mask.path.name)
    if found:
        faults = [f"{level}: {rows_named(names, 'mask')}" for level, names in sorted(found.items())]
        known = ", ".join(f"{name} {list(levels)}" for name, levels in classes.levels.items())
        raise DataError(
            f"These grey levels of masks belong to no class of task.levels ({known}):\n{listing(faults)}\n"
            "Add each to a class or to the background, as in task.levels={background:[0,1],liver:[2]}, or "
            "set task.ignore to it."
        )
    if media and not (table[seen] > 0).any():
        raise DataError(without_foreground(classes, seen, "set task.ignore=null"))


def without_foreground(classes: MaskClasses, seen: np.ndarray, advice: str) -> str:
    """Return the sentence on masks without any pixel of a class.

    Args:
        classes: The classes.
        seen: Whether any mask has each grey level, bool (256,).
        advice: What to do if the level of pixels without a label means a class, as in masks of 0 and 255.
    """
    sentence = f"No mask has a pixel of {', '.join(classes.names[1:])}: all are background"
    if classes.ignore is None or not seen[classes.ignore]:
        return f"{sentence}."
    return (
        f"{sentence} or have the grey level {classes.ignore}, which means without a label. If it means a "
        f"class in these masks, {advice}."
    )


def _all_read(
    paths: Sequence[Path], pictures: Sequence[str], digest_of: Callable[[bytes, str], str]
) -> list[str]:
    """Return the digest of each mask's file and the picture it belongs to, or refuse all unreadable files."""
    found, faults = [], []
    for path, picture in zip(paths, pictures, strict=True):
        try:
            found.append(digest_of(read_bytes(path), picture))
        except UnreadableImageError as error:
            faults.append(str(error))
    if faults:
        raise DataError(f"{len(faults)} masks cannot be opened:\n{listing(faults)}")
    return found


def _refuse_other_size(labels: np.ndarray, shape: tuple[int, ...], mask: Path, image: Path) -> None:
    if labels.shape != shape[:2]:
        (height, width), (rows, columns) = labels.shape, shape[:2]
        raise UnreadableImageError(
            f"{mask}: the mask has {width} x {height} pixels, its image {image.name} {columns} x {rows}"
        )


def _digest(content: bytes, picture: str) -> str:
    return hashlib.sha256(f"{hashlib.sha256(content).hexdigest()} labels {picture}".encode()).hexdigest()
