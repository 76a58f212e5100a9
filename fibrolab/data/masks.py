"""Masks: label maps, which get the same rectangle and crop as the images that they label."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from fibrolab.data.box import Box
from fibrolab.data.fault_sentences import rows_named
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.media import Media
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import Latest, read_bytes
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
        files = _file_digests(mask.path for mask in media)
    except DataError as error:
        reader = Reader()
        faults = list(dict.fromkeys(filter(None, (_fault(mask, reader) for mask in media))))
        raise DataError(f"Masks that cannot be used: {len(faults)}.\n{listing(faults)}") from error
    return [_digest(files[mask.path], picture) for mask, picture in zip(media, pictures, strict=True)]


def _fault(mask: Media, reader: "Reader") -> str:
    """Return why a mask cannot be used; empty if it can."""
    try:
        reader.labelled(mask)
    except UnreadableImageError as error:
        return str(error)
    return ""


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


class Reader:
    """Reads masks with the images that they label; parts of one file that are wanted in turn are read once.

    Only one thread at a time may use it.

    Attributes:
        images: Opens images.
    """

    def __init__(self) -> None:
        self.images, self._masks = Latest(), Latest()

    def labelled(self, mask: Media) -> Labelled:
        """Decode a mask and the image that it labels.

        Raises:
            UnreadableImageError: The mask is not a label map or not as large as its image, or the image
                cannot be read.
        """
        image = _labelled(mask)
        labels = self.labels(mask)
        pixels = self.images(image.path).inspect(image.view.uncut)[1]
        _refuse_other_size(labels, pixels.shape, mask.path, image.path)
        box = image.view.rectangle(pixels, image.path)
        return Labelled(box.of(labels), to_grey(box.of(pixels)), box, labels.shape)

    def labels(self, mask: Media) -> np.ndarray:
        """Decode a mask, uint8 (H, W): the numbers as its file stores them, see `readers.decode_labels`."""
        return self._masks(mask.path).labels(_labelled(mask), self.images)

    def kept(self, image: Media, size: tuple[int, ...], used: Box, preprocess: Preprocess) -> np.ndarray:
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
        labels = self._masks(image.mask).labels(image, self.images)
        _refuse_other_size(labels, size, image.mask, image.path)
        found = preprocess.kept(used.of(labels))
        if not found.any():
            levels = "above 0" if preprocess.crop_levels is None else f"in {list(preprocess.crop_levels)}"
            raise UnreadableImageError(
                f"{image.path}: preprocess.crop=mask keeps none of its pixels, since its mask {image.mask} "
                f"has no grey level {levels} there; leave the sample out, or correct the mask"
            )
        return found

    def digest(self, mask: Media) -> str:
        """Return the SHA-256 for a mask's pixels, see `digests`.

        Raises:
            UnreadableImageError: The mask, or the image that it labels, cannot be opened.
        """
        image = _labelled(mask)
        return _digest(self._masks(mask.path).sha256, image.view.digest(self.images(image.path).sha256))

    def cropped_digest(self, image: Media) -> str:
        """Return the SHA-256 for an image that is cropped to its mask, see `cropped_digests`.

        Raises:
            UnreadableImageError: One of the files cannot be opened.
        """
        assert image.mask is not None, "images without a mask are refused before"
        picture = image.view.digest(self.images(image.path).sha256)
        return _cropped_digest(picture, self._masks(image.mask).sha256)


def cropped_digests(images: Sequence[Media], pictures: Sequence[str]) -> list[str]:
    """Return a SHA-256 for each image that is cropped to its mask.

    Args:
        images: The images, with their masks.
        pictures: SHA-256 of each image and its view, from the survey.

    Raises:
        DataError: Masks that cannot be opened, all of them at once.
    """
    masks = [image.mask for image in images if image.mask]
    files = _file_digests(masks)
    return [_cropped_digest(picture, files[mask]) for mask, picture in zip(masks, pictures, strict=True)]


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


def _file_digests(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the SHA-256 of each file, or refuse all unreadable ones."""
    found, faults = {}, []
    for path in dict.fromkeys(paths):
        try:
            found[path] = hashlib.sha256(read_bytes(path)).hexdigest()
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


def _labelled(mask: Media) -> Media:
    assert mask.labelled is not None, "a mask labels an image"
    return mask.labelled


def _digest(file: str, picture: str) -> str:
    return hashlib.sha256(f"{file} labels {picture}".encode()).hexdigest()


def _cropped_digest(picture: str, mask: str) -> str:
    return hashlib.sha256(f"{picture} within {mask}".encode()).hexdigest()
