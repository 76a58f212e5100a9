"""Signs in decoded pixels that a header describes them wrongly: colours, planes and the range of levels."""

import cv2
import numpy as np

TILES = 3  # pixels of three planes read as if interleaved: three copies beside each other, for each plane
_TILE = 24  # side of a tile in the comparison [px]
_EQUAL = 0.5  # mean difference of a tile from the mean tile [its standard deviation]; about 0.8 by chance
_STEP = 4  # rows and columns of the colours that are compared: one of four
_NEUTRAL, _GREEN = 128, 135  # level of Cb and Cr without colour; level of G where Y, Cb and Cr are 0
_NEAR = 8  # largest difference from these levels
_VARIED = 8.0  # smallest standard deviation of a picture that shows something


def impossible_colours(pixels: np.ndarray) -> float:
    """Return the proportion of pixels whose colours a scan has only if its colour space is mislabelled.

    YCbCr shown as RGB has G and B near 128 wherever the scan is grey. RGB shown as YCbCr turns black into
    green of level 135, since Cb and Cr are then taken to be 0.

    Args:
        pixels: uint8 (H, W) or (H, W, 3).
    """
    if pixels.ndim == 2:
        return 0.0
    red, green, blue = np.moveaxis(pixels[::_STEP, ::_STEP].astype(np.int16), 2, 0)
    if max(red.std(), green.std(), blue.std()) < _VARIED:
        return 0.0
    neutral = (np.abs(green - _NEUTRAL) <= _NEAR) & (np.abs(blue - _NEUTRAL) <= _NEAR)
    neutral &= np.abs(red - _NEUTRAL) > 2 * _NEAR  # otherwise it is plain grey
    black = (red <= _NEAR) & (blue <= _NEAR) & (np.abs(green - _GREEN) <= _NEAR)
    return float(max(neutral.mean(), black.mean()))


def is_tiled(grey: np.ndarray) -> bool:
    """Return whether an image is three by three small copies of one: planes that were read as pixels.

    Args:
        grey: uint8 (H, W).
    """
    small = cv2.resize(grey, (TILES * _TILE, TILES * _TILE), interpolation=cv2.INTER_AREA).astype(float)
    tiles = small.reshape(TILES, _TILE, TILES, _TILE).swapaxes(1, 2).reshape(-1, _TILE, _TILE)
    deviations = tiles.std(axis=(1, 2))
    differences = np.abs(tiles - tiles.mean(axis=0)).mean(axis=(1, 2))
    return bool(deviations.min() >= _VARIED / 2 and (differences < _EQUAL * deviations).all())
