"""Signs in decoded pixels that a header describes them wrongly: colours, planes and the range of levels."""

import cv2
import numpy as np

TILES = 3  # pixels of three planes read as if interleaved: three copies beside each other, for each plane
_TILE = 24  # side of a tile in the comparison [px]
_EQUAL = 0.5  # mean difference of a tile from the mean tile [its standard deviation]; about 0.8 by chance
_COMPARED = 96  # least number of rows and columns whose colours are compared; of smaller pictures all
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
    compared = np.ascontiguousarray(_thinned(pixels, _COMPARED))
    if cv2.meanStdDev(compared)[1].max() < _VARIED:
        return 0.0
    red, green, blue = np.moveaxis(compared.astype(np.int16), 2, 0)
    neutral = (np.abs(green - _NEUTRAL) <= _NEAR) & (np.abs(blue - _NEUTRAL) <= _NEAR)
    neutral &= np.abs(red - _NEUTRAL) > 2 * _NEAR  # otherwise it is plain grey
    black = (red <= _NEAR) & (blue <= _NEAR) & (np.abs(green - _GREEN) <= _NEAR)
    return float(max(neutral.mean(), black.mean()))


def is_tiled(grey: np.ndarray) -> bool:
    """Return whether an image is three by three small copies of one: planes that were read as pixels.

    Args:
        grey: uint8 (H, W).
    """
    side = TILES * _TILE
    thinned = np.ascontiguousarray(_thinned(grey, 3 * side))  # of nine pixels, a mean without speckle
    small = cv2.resize(thinned, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    tiles = small.reshape(TILES, _TILE, TILES, _TILE).swapaxes(1, 2).reshape(-1, _TILE, _TILE)
    mean = tiles.mean(axis=0)
    return all(_repeats(tile, mean) for tile in tiles)  # of most images the first one does not


def _repeats(tile: np.ndarray, mean: np.ndarray) -> bool:
    """Return whether a tile shows something, and the same as the mean of all tiles."""
    deviation = tile.std()
    return bool(deviation >= _VARIED / 2 and cv2.absdiff(tile, mean).mean() < _EQUAL * deviation)


def _thinned(pixels: np.ndarray, least: int) -> np.ndarray:
    """Return every k-th row and column, of which at least this many remain."""
    rows, columns = (max(1, side // least) for side in pixels.shape[:2])
    return pixels[::rows, ::columns]
