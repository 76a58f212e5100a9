"""Overlays: a map in colours over the picture that it explains."""

from typing import NamedTuple

import numpy as np

COLOURS = {False: "inferno", True: "RdBu_r"}  # of maps that are at least 0, and of signed ones
OPACITY = 0.8  # of the end of the scale; a value of 0 is transparent, so that the picture stays visible
UNSEEN = (201, 207, 214)  # grey of the pixels that the network did not see
CLIPPED = 99  # percentile of the values at which the scale ends, since single pixels can be far higher


class Scale(NamedTuple):
    """The colour scale of one or more maps.

    Attributes:
        largest: Value at the upper end.
        signed: Whether it reaches from `-largest` to `largest`, otherwise from 0; values below 0 are then 0.
    """

    largest: float
    signed: bool

    @property
    def lowest(self) -> float:
        """Value at the lower end."""
        return -self.largest if self.signed else 0.0

    @property
    def colours(self) -> str:
        """Name of matplotlib's colour map."""
        return COLOURS[self.signed]

    def strength(self, values: np.ndarray) -> np.ndarray:
        """Return the proportion of the scale's end that each value reaches, 0 to 1; 0 where there is none."""
        values = np.abs(values) if self.signed else values
        return np.clip(np.nan_to_num(values) / self.largest, 0, 1)

    def coloured(self, values: np.ndarray) -> np.ndarray:
        """Return the colours of a map (H, W), uint8 (H, W, 3); a pixel without a value is grey."""
        import matplotlib  # late: it takes most of the time of an import of this module

        place = (np.nan_to_num(values) - self.lowest) / (self.largest - self.lowest)
        colours = matplotlib.colormaps[self.colours](np.clip(place, 0, 1), bytes=True)[..., :3]
        colours[np.isnan(values)] = UNSEEN
        return np.asarray(colours)


def scale(maps: list[np.ndarray], signed: bool) -> Scale:
    """Return one colour scale for several maps, which ends at the `CLIPPED` percentile of their values.

    Args:
        maps: Maps of any shape; NaN where there is no value.
        signed: Whether values below 0 are evidence against the target.
    """
    values = np.concatenate([heat[np.isfinite(heat)] for heat in maps] or [np.zeros(0)])
    values = np.abs(values) if signed else values[values > 0]
    largest = float(np.percentile(values, CLIPPED)) if values.size else 0.0
    return Scale(largest if largest > 0 else 1.0, signed)


def overlay(picture: np.ndarray, heat: np.ndarray, colours: Scale) -> np.ndarray:
    """Blend a map over its picture; the stronger the value, the less of the picture is seen.

    Args:
        picture: uint8 (H, W) or (H, W, 3).
        heat: Values in the picture's pixels, (H, W); NaN where the network saw nothing.
        colours: Scale of the values.

    Returns:
        uint8 (H, W, 3).
    """
    below = picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1)
    opacity = OPACITY * colours.strength(heat)[..., None]
    blended = (1 - opacity) * below + opacity * colours.coloured(heat)
    return np.asarray(blended.round().astype(np.uint8))
