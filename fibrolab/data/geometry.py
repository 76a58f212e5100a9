"""Geometry of a picture on its way to the network: the part of the file that the square input shows."""

from typing import Final

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.box import Box
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.media import Media, View
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.readers import decode, decode_clip, read_bytes

# Size of the picture in the file, and the rectangle of it that is resized to the network's input [px].
GEOMETRY: Final = ("picture_width", "picture_height", "left", "top", "width", "height")


def shown_parts(data: LabelledData, modality: str, preprocess: Preprocess) -> pd.DataFrame:
    """Return the part of each sample's file that the network receives.

    Files are read again only where the part is detected in their pixels: a crop of borders, or a rectangle
    that is named.

    Args:
        data: N samples.
        modality: Image, elastogram or clip.
        preprocess: Preprocessing of this modality.

    Returns:
        The columns `GEOMETRY` (N,), NaN for samples without the modality.
    """
    manifest, facts = data.manifest, data.facts[modality]
    present = manifest.present(modality)
    found = np.full((len(manifest), len(GEOMETRY)), np.nan)
    media = iter(manifest.media(modality, present))
    for row in np.flatnonzero(present):
        item = next(media)
        size = int(facts["width"].iloc[row]), int(facts["height"].iloc[row])
        if preprocess.crop == "none" and not isinstance(item.view.box, str):
            box = item.view.box or Box(0, 0, *size)
        else:
            size, box = _detected(item, modality, preprocess)
        found[row] = *size, *box
    return pd.DataFrame(found, columns=list(GEOMETRY))


def _detected(item: Media, modality: str, preprocess: Preprocess) -> tuple[tuple[int, int], Box]:
    """Return width and height of a picture, and its part, from the pixels of the file."""
    content = read_bytes(item.path)
    if modality == keys.CLIP:
        picture = decode_clip(content, item.path).frames.max(axis=0)  # as `Preprocess.clip` crops
    else:
        picture = decode(content, item.path, View(item.view.frame))
    view = item.view.rectangle(picture, item.path)
    crop = preprocess.crop_box(to_grey(view.of(picture)))
    height, width = picture.shape[:2]
    return (width, height), Box(view.left + crop.left, view.top + crop.top, crop.width, crop.height)
