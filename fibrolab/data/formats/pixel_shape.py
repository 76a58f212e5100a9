"""Height of a pixel divided by its width, as files state it; pictures are used as stored, whatever it is.

"PS3.x" are the parts of the DICOM standard.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image
    from pydicom import Dataset

NEARLY = 0.01  # difference from 1 up to which a pixel counts as square: spacings are rounded
CENTIMETRES = 3  # unit of a region of an ultrasound image, PS3.3 C.8.5.5.1.15
# Of Pillow: pixels per unit of length along x and y, in the order in which a file means them.
_DENSITIES = ("dpi", "resolution", "aspect", "jfif_density")


def height_to_width(height: float, width: float) -> float:
    """Return the ratio of two lengths; 1 if one is not positive and finite, or if they are nearly equal."""
    if not (0 < height < math.inf and 0 < width < math.inf):
        return 1.0
    ratio = height / width
    return 1.0 if abs(ratio - 1) <= NEARLY else round(ratio, 3)


def of_picture(picture: "Image.Image", is_sideways: bool) -> float:
    """Return the ratio by the densities of a picture: pHYs of PNG, JFIF or EXIF of JPEG, tags of TIFF, BMP.

    Args:
        picture: The picture.
        is_sideways: Whether it is turned by a quarter before it is used.
    """
    per_unit = next((found for name in _DENSITIES if (found := picture.info.get(name))), (1, 1))
    across, down = (float(number) for number in per_unit)
    return height_to_width(*((down, across) if is_sideways else (across, down)))


def of_dicom(dataset: "Dataset") -> float:
    """Return the ratio by PixelAspectRatio (PS3.3, C.7.6.3.1.7), or by the size of a pixel.

    Where regions of an ultrasound image differ, it is the ratio furthest from 1.
    """
    try:
        stated = dataset.get("PixelAspectRatio", None)
        sides = [tuple(map(float, stated))] if stated else list(sizes(dataset))
        ratios = [height_to_width(height, width) for height, width in sides]
    except Exception:  # of a damaged element, as pydicom raises many types; the pixels can still be read
        return 1.0
    return max(ratios, key=lambda ratio: abs(math.log(ratio)), default=1.0)


def sizes(dataset: "Dataset") -> Iterator[tuple[float, float]]:
    """Yield height and width of a pixel [mm] by `PixelSpacing`, or of each region of an ultrasound image."""
    shared = dataset.get("SharedFunctionalGroupsSequence", None)
    measures = (shared and shared[0].get("PixelMeasuresSequence", None)) or [dataset]
    if (pair := measures[0].get("PixelSpacing", None)) and min(map(float, pair)) > 0:
        yield float(pair[0]), float(pair[1])
        return
    for region in dataset.get("SequenceOfUltrasoundRegions", None) or ():
        if region.get("PhysicalUnitsXDirection") == region.get("PhysicalUnitsYDirection") == CENTIMETRES:
            height, width = (10 * abs(float(side)) for side in (region.PhysicalDeltaY, region.PhysicalDeltaX))
            if height and width:
                yield height, width
