"""Geometry of a network's input: the rectangle of the original picture that it shows, and the way back."""

from typing import Final, NamedTuple

import cv2
import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data import masks
from fibrolab.data.box import Box
from fibrolab.data.formats.contract import Clip, to_grey
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.media import Media, by_file
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import decode_clip, read_bytes


class Geometry(NamedTuple):
    """The rectangle of a picture that a network's square input shows [px].

    Attributes:
        picture_width: Width of the whole picture, as the file stores it.
        picture_height: Height of the whole picture.
        left: Left edge of the rectangle in the picture.
        top: Upper edge of the rectangle.
        width: Width of the rectangle.
        height: Height of the rectangle.
    """

    picture_width: int
    picture_height: int
    left: int
    top: int
    width: int
    height: int

    @property
    def box(self) -> Box:
        """The rectangle."""
        return Box(self.left, self.top, self.width, self.height)

    def to_picture(self, values: np.ndarray) -> np.ndarray:
        """Return a map of the network's input in the pixels of the original picture.

        The map is interpolated bilinearly between the centres of its pixels: that of column i of w lies at
        (i + .5) / w of the rectangle's width, and likewise for rows.

        Args:
            values: Map of any resolution that covers the whole input, (h, w).

        Returns:
            float32 (picture_height, picture_width), NaN outside the rectangle, which the network did not see.
        """
        whole = np.full((self.picture_height, self.picture_width), np.nan, np.float32)
        size = (self.width, self.height)
        values = np.ascontiguousarray(values, np.float32)
        self.box.of(whole)[:] = cv2.resize(values, size, interpolation=cv2.INTER_LINEAR)
        return whole


GEOMETRY: Final = Geometry._fields  # columns of tables


def shown_parts(data: LabelledData, modality: str, preprocess: Preprocess) -> pd.DataFrame:
    """Return the part of each sample's file that the network receives.

    Files are read again only where the part is detected in their pixels or their mask: a crop, or a rectangle
    that is named.

    Args:
        data: N samples.
        modality: Image, elastogram or clip.
        preprocess: Preprocessing of this modality.

    Returns:
        The columns `GEOMETRY` (N,), NaN for samples without the modality.
    """
    manifest, facts = data.manifest, data.facts.get(modality)  # None if no sample has one
    rows = np.flatnonzero(manifest.present(modality))
    found = np.full((len(manifest), len(GEOMETRY)), np.nan)
    media = zip(manifest.media(modality, manifest.present(modality)), rows.tolist(), strict=True)
    for group in by_file(media, pairs=preprocess.crop == "mask"):
        reader = masks.Reader()
        for item, row in group:
            assert facts is not None
            width, height = (int(facts[name].iloc[row]) for name in ("width", "height"))
            if preprocess.crop == "none" and not isinstance(item.view.box, str):
                found[row] = width, height, *(item.view.box or Box(0, 0, width, height))
            elif modality == keys.CLIP:
                found[row] = film(item, preprocess)[1]
            else:
                found[row] = picture(item, preprocess, reader)[1]
    return pd.DataFrame(found, columns=list(GEOMETRY))


def picture(
    media: Media, preprocess: Preprocess, reader: masks.Reader | None = None
) -> tuple[np.ndarray, Geometry]:
    """Read a whole picture, and the rectangle of it that the network's input shows.

    Args:
        media: The file, with the frame and the rectangle that are used.
        preprocess: Settings of its modality.
        reader: Reads it; None reads its files anew.

    Returns:
        The frame, uint8 (H, W) or (H, W, 3), and its geometry.

    Raises:
        UnreadableImageError: The file, the frame, the rectangle, or the mask that it is cropped to cannot be
            used.
    """
    reader = reader or masks.Reader()
    whole = reader.images(media.path).inspect(media.view.uncut)[1]
    used = media.view.rectangle(whole, media.path)
    kept = reader.kept(media, whole.shape, used, preprocess) if preprocess.crop == "mask" else None
    return whole, _geometry(whole.shape, used, preprocess.crop_box(to_grey(used.of(whole)), kept))


def film(media: Media, preprocess: Preprocess) -> tuple[Clip, Geometry]:
    """Read a whole film, and the rectangle of its frames that the network's input shows; see `picture`."""
    clip = decode_clip(read_bytes(media.path), media.path, media.view)
    crop = preprocess.crop_box(clip.frames.max(axis=0))
    return clip, _geometry(clip.frames.shape[1:], Box(0, 0, *clip.frames.shape[:0:-1]), crop)


def _geometry(shape: tuple[int, ...], used: Box, crop: Box) -> Geometry:
    """Return the geometry of a crop within the used rectangle of a picture of this shape."""
    height, width = shape[:2]
    return Geometry(width, height, used.left + crop.left, used.top + crop.top, crop.width, crop.height)
