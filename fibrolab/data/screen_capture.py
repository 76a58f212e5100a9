"""Screen captures of shear wave elastography: the colour box, the grey panel, and kPa from the colour bar.

A capture shows one B-mode frame twice, in two panels: with a box of colours over it, and plain. This module
finds the largest square inside the colour box, and the same square of the plain panel (Xue et al., Transfer
learning radiomics based on multimodal ultrasound imaging for staging liver fibrosis, Eur Radiol 30, 2020).
Its only assumptions on the layout are that the two panels are aligned horizontally or vertically, and that
the colour bar is vertical with its stiff end at the top.
"""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from scipy import fft

from fibrolab.data.box import Box
from fibrolab.errors import UnreadableImageError

COLOURED = 40  # least difference of the strongest and weakest channel of a colour; JPEG grey stays below 20
SMALLEST = 8  # least side of a square that is read [px]
EDGE = 2  # width of the box's outline, with colours that JPEG smears over it [px]
ALIKE = 0.5  # least correlation of two panels with the same speckle; another frame of the scan reaches 0.3
SPECKLE = 15  # window whose mean brightness is subtracted to leave the speckle [px]
LINES = 96  # number of rows or columns compared to find the distance of the panels
PROBES = 1000  # number of pixels from which the opacity of the colours is estimated
NARROW = 4  # least ratio of height to width of a colour bar; a colour box never has it


class Squares(NamedTuple):
    """The same tissue in two squares: under the colours, and in the plain panel."""

    colour: Box
    grey: Box


def squares(pixels: np.ndarray, path: Path) -> Squares:
    """Find the largest square inside the colour box, and the same square in the grey panel.

    Args:
        pixels: The capture, uint8 (H, W, 3).
        path: The file, named in errors.

    Raises:
        UnreadableImageError: The image is grey, or has no colour box or no second panel.
    """
    if pixels.ndim == 2:
        raise UnreadableImageError(f"{path}: is a grey image; a screen capture of elastography has colours")
    coloured = _coloured(pixels)
    region = _colour_box(coloured)
    square = _largest_square(region)
    if square.width < SMALLEST:
        raise UnreadableImageError(
            f"{path}: has no colour box: no coloured area contains a square of {SMALLEST} pixels"
        )
    right, down = _panel_shift(pixels, coloured, region, square, path)
    return Squares(square, square._replace(left=square.left + right, top=square.top + down))


def scale(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Find the colour bar, a narrow vertical strip that passes through all colours.

    Args:
        pixels: The capture, uint8 (H, W, 3).
        path: The file, named in errors.

    Returns:
        Its colours from the stiff end (top) to the soft end, uint8 (n, 3).

    Raises:
        UnreadableImageError: There is no such strip.
    """
    chroma = _chroma(pixels) if pixels.ndim == 3 else np.zeros(pixels.shape, np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats((chroma >= COLOURED).astype(np.uint8), connectivity=4)
    bars = []
    for left, top, width, height, area in stats[1:].tolist():
        if height < max(2 * SMALLEST, NARROW * width) or area < 0.7 * width * height:
            continue
        inner = slice(left + width // 3, left + width - width // 3)  # the sides are blurred into the black
        colours = np.median(pixels[top : top + height, inner], axis=1).astype(np.uint8)
        if np.ptp(colours.astype(int) @ (1, 0, -1)) > 255:  # from blue to red; icons have a single hue
            bars.append(colours)
    if not bars:
        raise UnreadableImageError(f"{path}: has no colour bar: no narrow vertical strip from red to blue")
    return max(bars, key=len)


def opacity(colour: np.ndarray, grey: np.ndarray, bar: np.ndarray) -> float:
    """Estimate the opacity of the colours over the B-mode image, 1 = opaque.

    Colours are blended over the scan as `opacity * colour + (1 - opacity) * grey`. The estimate is the
    opacity for which the colours, after the plain panel's grey is subtracted, are nearest to the bar's.

    Args:
        colour: Square of the colour box, uint8 (h, w, 3).
        grey: The same square of the grey panel, uint8 (h, w, 3).
        bar: Colours of the bar, from `scale`.
    """
    from scipy.spatial import KDTree

    covered = cv2.erode((_chroma(colour) >= COLOURED).astype(np.uint8), np.ones((3, 3))) > 0
    spread = max(1, int(covered.sum()) // PROBES)
    blended, plain = (square[covered][::spread].astype(np.float64) for square in (colour, grey))
    if not len(blended):
        return 1.0
    tree, trials = KDTree(bar), np.linspace(0.3, 1, 36)
    errors = [trial * np.median(tree.query((blended - (1 - trial) * plain) / trial)[0]) for trial in trials]
    return float(trials[np.argmin(errors)])


def kilopascals(
    square: np.ndarray, bar: np.ndarray, top_kpa: float = 40.0, opacity: float = 1.0
) -> np.ndarray:
    """Compute stiffness from colour: every pixel gets the value of the bar's nearest colour.

    Colours are compared without their grey component, which depends on the B-mode image below. The rest of a
    blended colour is that of the bar times the opacity.

    Args:
        square: Pixels of the colour box, uint8 (h, w, 3).
        bar: Colours of the bar from stiff to soft, from `scale`.
        top_kpa: Stiffness at the upper end of the bar [kPa]; its lower end is 0.
        opacity: Opacity of the colours, from the function `opacity`.

    Returns:
        float32 (h, w) [kPa], NaN where there is no colour.
    """
    from scipy.spatial import KDTree

    coloured = _chroma(square) >= COLOURED
    _, nearest = KDTree(_without_grey(bar)).query(_without_grey(square[coloured]) / opacity)
    stiffness = np.full(coloured.shape, np.nan, np.float32)
    stiffness[coloured] = top_kpa * (1 - nearest / (len(bar) - 1))
    return stiffness


def reading(pixels: np.ndarray, path: Path) -> float:
    """Return the mean stiffness over the square of a capture, relative to the bar: 0 = soft end, 1 = stiff.

    Raises:
        UnreadableImageError: No colour box, grey panel or colour bar.
    """
    found, bar = squares(pixels, path), scale(pixels, path)
    colour, grey = found.colour.of(pixels), found.grey.of(pixels)
    return float(np.nanmean(kilopascals(colour, bar, 1.0, opacity(colour, grey, bar))))


def has_colours(pixels: np.ndarray) -> bool:
    """Return whether a picture, uint8 (H, W) or (H, W, 3), has a coloured area, as elastograms have."""
    return pixels.ndim == 3 and bool(_coloured(pixels).any())


def _chroma(pixels: np.ndarray) -> np.ndarray:
    """Return the strongest minus the weakest channel, uint8 (H, W); 0 for grey."""
    red, green, blue = cv2.split(pixels)
    return cv2.max(cv2.max(red, green), blue) - cv2.min(cv2.min(red, green), blue)


def _without_grey(colours: np.ndarray) -> np.ndarray:
    """Project colours (.., 3) onto the plane perpendicular to the grey axis (.., 2)."""
    plane = np.array([[1, -0.5, -0.5], [0, np.sqrt(0.75), -np.sqrt(0.75)]])
    return colours.astype(np.float64) @ plane.T


def _speckle(pixels: np.ndarray) -> np.ndarray:
    """Return brightness without its local mean, float32 (H, W)."""
    brightness = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return brightness - cv2.blur(brightness, (SPECKLE, SPECKLE))


def _coloured(pixels: np.ndarray) -> np.ndarray:
    """Return the coloured areas without thin lines and specks, uint8 (H, W) of 0 and 1."""
    return cv2.morphologyEx((_chroma(pixels) >= COLOURED).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5)))


def _colour_box(coloured: np.ndarray) -> np.ndarray:
    """Return the largest coloured area that is not a strip, gaps closed, outline removed: uint8 (H, W)."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(coloured)
    width, height = stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]
    kept = np.maximum(width, height) < NARROW * np.minimum(width, height)
    kept[0] = False
    gap = min(coloured.shape) // 8 | 1
    padded = cv2.copyMakeBorder(kept[labels].astype(np.uint8), gap, gap, gap, gap, cv2.BORDER_CONSTANT)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((gap, gap)))[gap:-gap, gap:-gap]
    areas, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
    if areas == 1:  # only the background
        return closed
    largest = (labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    outlines, _ = cv2.findContours(largest, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(largest, outlines, -1, 1, cv2.FILLED)
    return cv2.erode(filled, np.ones((2 * EDGE + 1, 2 * EDGE + 1)))


def _largest_square(mask: np.ndarray) -> Box:
    """Return the largest square of ones; of several, the one nearest to the middle of the mask.

    A square fits if the sum of its window, from the integral image, is its area. The largest side is found by
    bisection, since all smaller squares fit too.
    """
    left, top, width, height = cv2.boundingRect(mask)
    sums = cv2.integral(mask[top : top + height, left : left + width])
    side, too_large = 0, min(width, height) + 1
    while too_large - side > 1:
        middle = (side + too_large) // 2
        side, too_large = (middle, too_large) if _fits(sums, middle).any() else (side, middle)
    if side == 0:
        return Box(0, 0, 0, 0)
    rows, columns = np.nonzero(_fits(sums, side))
    centre_x, centre_y = (width - side) / 2, (height - side) / 2
    best = np.hypot(columns - centre_x, rows - centre_y).argmin()
    return Box(left + int(columns[best]), top + int(rows[best]), side, side)


def _fits(sums: np.ndarray, side: int) -> np.ndarray:
    """Return for each corner whether a square of this side is all ones, bool."""
    window = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return window == side * side


def _panel_shift(
    pixels: np.ndarray, coloured: np.ndarray, region: np.ndarray, square: Box, path: Path
) -> tuple[int, int]:
    """Return the shift from the coloured to the plain panel, (right, down) [px]; one of them is 0."""
    speckle = np.clip(_speckle(pixels), -SPECKLE, SPECKLE)  # so that text and edges do not outweigh tissue
    plain = cv2.dilate(cv2.max(region, coloured), np.ones((SPECKLE, SPECKLE))) == 0
    left, top, width, height = cv2.boundingRect(region)
    around = np.zeros_like(plain)
    around[
        max(0, top - height // 2) : top + 3 * height // 2, max(0, left - width // 2) : left + 3 * width // 2
    ] = True
    ring = around & plain
    right, alike_right = _shift(speckle, ring, plain, (square.left, square.width, width))
    down, alike_down = _shift(speckle.T, ring.T, plain.T, (square.top, square.height, height))
    if max(alike_right, alike_down) < ALIKE:
        raise UnreadableImageError(
            f"{path}: has a colour box but no second panel: no area above, below or beside it shows the same "
            "scan without colours"
        )
    return (right, 0) if alike_right > alike_down else (0, down)


def _shift(
    speckle: np.ndarray, ring: np.ndarray, plain: np.ndarray, extent: tuple[int, int, int]
) -> tuple[int, float]:
    """Find the shift along the rows at which the image best matches the ring around the colour box.

    Masked correlation (Padfield, Masked object registration in the Fourier domain, IEEE Trans Image Process
    21(5), 2012), here along one axis and of speckle, whose mean is 0. It is divided by the larger of the two
    powers, not by their geometric mean, so that a faint trace of tissue does not count as a match.

    Args:
        speckle: Brightness without its local mean (H, W).
        ring: Pixels to be found again, bool (H, W).
        plain: Pixels in which they may be found, bool (H, W).
        extent: Start and side of the square, and length of the colour box, along the rows [px].

    Returns:
        Shift [px] and correlation.
    """
    rows = np.flatnonzero(ring.any(axis=1))[:: max(1, ring.any(axis=1).sum() // LINES)]
    picture, known, wanted = speckle[rows], plain[rows].astype(np.float32), ring[rows].astype(np.float32)
    length = picture.shape[1]
    size = fft.next_fast_len(2 * length, real=True)

    def correlate(template: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Return the sum of template[x] * image[x + d] over all rows, for d = 1 - length .. length - 1."""
        product = (fft.rfft(template, size).conj() * fft.rfft(image, size)).sum(axis=0)
        sums = fft.irfft(product, size)
        return np.concatenate([sums[1 - length :], sums[:length]])

    overlap = correlate(wanted, known)
    power = np.maximum(correlate(wanted * picture**2, known), correlate(wanted, known * picture**2))
    alike = correlate(wanted * picture, known * picture) / np.maximum(power, 1)
    start, side, box = extent
    shifts = np.arange(1 - length, length)
    inside = (start + shifts >= 0) & (start + shifts + side <= length) & (np.abs(shifts) >= box)
    alike[~inside | (overlap < wanted.sum() / 2)] = -1
    best = int(alike.argmax())
    return int(shifts[best]), float(alike[best])
