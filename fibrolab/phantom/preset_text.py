"""Text that a scanner burns into a picture: the name of its preset, which can give the stage away."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

# Names of presets as on real screens. A site that scans its cirrhosis clinic with one preset and its healthy
# controls with another has this shortcut in its data.
PRESETS: Final = ("ABD", "GEN HI", "HEPATIC", "PEN", "RES 2")
TEXT: Final = 5  # level of the text in the true masks
LETTERS = 210  # grey level
REFERENCE_WIDTH = 128  # of the picture for which the sizes below are given [px]
PLACE, SCALE = (3, 12), 0.36  # left and bottom of the text, and OpenCV's scale of its font


def burn_in(picture: NDArray[np.uint8], mask: NDArray[np.uint8], preset: int) -> None:
    """Write the name of a preset into the upper left corner of a picture and of its mask, in place.

    Args:
        picture: Grey levels `(H, W)`.
        mask: Levels of the structures, of the same shape.
        preset: Number of the preset, an index of `PRESETS`.
    """
    scale = picture.shape[1] / REFERENCE_WIDTH
    place = (round(PLACE[0] * scale), round(PLACE[1] * scale))
    letters = np.zeros_like(picture)
    cv2.putText(
        letters, PRESETS[preset], place, cv2.FONT_HERSHEY_SIMPLEX, SCALE * scale, LETTERS, 1, cv2.LINE_AA
    )
    np.maximum(picture, letters, out=picture)
    np.copyto(mask, np.uint8(TEXT), where=letters > LETTERS // 4)
