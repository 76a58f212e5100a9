"""A rectangle of an image, in pixels."""

from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """A rectangle [px]; the image's upper left corner is 0, 0."""

    left: int
    top: int
    width: int
    height: int

    def __str__(self) -> str:
        """Return the rectangle as text, as it is written in a manifest."""
        return " ".join(map(str, self))

    def of(self, picture: np.ndarray) -> np.ndarray:
        """Return the rectangle of an image (H, W) or (H, W, 3) as a view of its pixels."""
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]
