"""Detection of the scan in an image, without the screen around it: title bar, frame, text and grey bar."""

import cv2
import numpy as np

from fibrolab.data.box import Box

# Sizes are fractions of the image's smaller side.
TEXT = 16  # one 16th: width of the rim, and the largest thickness that is taken for text, a bar or a line
WINDOW = 40  # one 40th: side of a window; within a scan, more than half of a window is not screen
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
    whole = Box(0, 0, width, height)
    text, window = (max(min(height, width) // fraction, 1) for fraction in (TEXT, WINDOW))
    screen = _screen_levels(grey, rim=text)
    if not screen.any():
        return whole
    foreground = np.where(screen, np.float32(0), np.float32(1))[grey]
    dense = (cv2.blur(foreground, (window, window)) > 0.5).astype(np.uint8)
    scan = _largest_area(dense, text)
    return Box(*map(int, cv2.boundingRect(scan))) if scan.any() else whole


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
