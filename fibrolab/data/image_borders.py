"""Detection of the scan in an image, and of what the screen adds: frame, text, grey bar, calipers."""

import cv2
import numpy as np

from fibrolab.data.box import Box

# Sizes are fractions of the image's smaller side.
TEXT = 16  # one 16th: width of the rim, and the largest thickness that is taken for text, a bar or a line
WINDOW = 40  # one 40th: side of a window; within a scan, more than half of a window is not screen
CONTRAST = 100  # grey levels by which letters and calipers are brighter than what surrounds them
FLAT = 6  # grey levels by which compression changes a flat screen
SCREEN_PROPORTION = 0.1  # of the rim: a grey level that fills more is the screen; a scan has many levels


def content_box(grey: np.ndarray) -> Box:
    """Return the rectangle around the scan.

    The few grey levels that fill the image's rim are the screen. The scan is the largest connected area of
    other levels that is dense (unlike text) and thicker than text. Parts of the scan as dark as the screen,
    such as depths without echoes, cannot be distinguished from it.

    Args:
        grey: uint8 (H, W).

    Returns:
        The rectangle; the whole image if its rim is not a flat screen, or if no scan is found on it.
    """
    height, width = grey.shape
    scan = _dense_scan(grey)
    return Box(0, 0, width, height) if scan is None else Box(*map(int, cv2.boundingRect(scan)))


def scan_mask(grey: np.ndarray) -> np.ndarray:
    """Return which pixels belong to the scan, bool (H, W); all of them without a border.

    A scan is convex but for the face of a curved probe. The convex hull therefore adds dark depths and
    shadows to the visible part, and what lies in it above the uppermost echo of a column is screen.

    Args:
        grey: uint8 (H, W).
    """
    scan = _dense_scan(grey)
    if scan is None:
        return np.ones(grey.shape, dtype=bool)
    hull = np.zeros_like(scan)
    cv2.fillConvexPoly(hull, cv2.convexHull(cv2.findNonZero(scan)), 1)
    below_face = np.maximum.accumulate(scan, axis=0)
    return (hull & below_face).astype(bool)


def burned_in(grey: np.ndarray, scan: np.ndarray) -> np.ndarray:
    """Return which pixels hold text, markers or calipers, bool (H, W).

    Outside the scan these are all areas other than screen that reach a brightness of `CONTRAST`. On the scan
    they are lines of one grey level, thinner than text, brighter than what surrounds them by `CONTRAST`, and
    within `FLAT` levels of white or of the brightest level outside, since a scanner draws all its letters in
    one grey. A capsule is as thin and as bright, but its speckle has many levels.

    Args:
        grey: uint8 (H, W).
        scan: Its scan, from `scan_mask`.
    """
    text, near = max(min(grey.shape) // TEXT, 2), np.ones((3, 3), np.uint8)
    around = ~cv2.dilate(scan.astype(np.uint8), near).astype(bool)  # resizing blurs the edge of the scan
    other = around & ~_screen_levels(grey, rim=text)[grey]
    _, areas = cv2.connectedComponents(other.astype(np.uint8))
    outside = other & np.isin(areas, areas[other & (grey >= CONTRAST)])
    letters = int(grey[outside].max()) if outside.any() else 255
    thin = cv2.morphologyEx(grey, cv2.MORPH_TOPHAT, np.ones((text, text), np.uint8)) > CONTRAST
    bright = scan & thin & ((np.abs(grey.astype(int) - letters) <= FLAT) | (grey >= 255 - FLAT))
    lines = (bright & (_equal_neighbours(grey) >= 2)).astype(np.uint8)
    return outside | (cv2.dilate(lines, near).astype(bool) & bright)


def _equal_neighbours(grey: np.ndarray) -> np.ndarray:
    """Return how many of the four neighbours of a pixel are within one level of it, (H, W)."""
    padded = np.pad(grey.astype(int), 1, constant_values=-9)
    sides = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.sum([np.abs(grey.astype(int) - side) <= 1 for side in sides], axis=0)


def _dense_scan(grey: np.ndarray) -> np.ndarray | None:
    """Return the visible part of the scan, uint8 (H, W) of 0 and 1; None if there is no screen around it."""
    text, window = (max(min(grey.shape) // fraction, 1) for fraction in (TEXT, WINDOW))
    screen = _screen_levels(grey, rim=text)
    if not screen.any():
        return None
    foreground = np.where(screen, np.float32(0), np.float32(1))[grey]
    dense = (cv2.blur(foreground, (window, window)) > 0.5).astype(np.uint8)
    scan = _largest_area(dense, text)
    return scan if scan.any() else None


def _screen_levels(grey: np.ndarray, rim: int) -> np.ndarray:
    """Return which levels belong to the screen, bool (256,); none if they fill less than half of the rim."""
    inner = grey[rim:-rim, rim:-rim]
    counts = np.bincount(grey.ravel(), minlength=256) - np.bincount(inner.ravel(), minlength=256)
    proportions = counts / counts.sum()
    levels = np.convolve(proportions > SCREEN_PROPORTION, np.ones(2 * FLAT + 1), mode="same") > 0
    return levels & (proportions[levels].sum() >= 0.5)


def _largest_area(dense: np.ndarray, text: int) -> np.ndarray:
    """Return the largest connected area of a mask (H, W) after parts as thin as text are removed."""
    kernel = np.ones((text, text), np.uint8)
    thick = cv2.morphologyEx(dense, cv2.MORPH_OPEN, kernel)
    count, areas, stats, _ = cv2.connectedComponentsWithStats(thick)
    if count == 1:  # only the background
        return np.zeros_like(dense)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    # The opening removed the sharp corners of a sector; the dilation adds them again.
    return cv2.dilate((areas == largest).astype(np.uint8), kernel) & dense
