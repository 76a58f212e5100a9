"""Finding the scan in an image, without the screen around it: title bar, frame, text and grey bar."""

import cv2
import numpy as np

from fibrolab.data.box import Box

TEXT = (
    16  # the picture's smaller side over the height of what counts as text, bar or line, and over the rim's
)
WINDOW = 40  # the smaller side over the window in which more than half is lit within a scan
FLAT = 6  # grey levels by which compression ripples a flat screen
SHARE = 0.1  # of the rim: a level that fills more is the screen's, since a scan's levels spread


def content_box(grey: np.ndarray) -> Box:
    """Return the rectangle around the scan.

    The few levels that fill the picture's rim are the screen. What differs from them densely (text is
    sparse), is thicker than text, and hangs together as the largest piece is the scan. What is as dark as the
    screen cannot be distinguished from it, such as a deep end without echoes.

    Args:
        grey: uint8 (H, W).

    Returns:
        The rectangle; the whole picture where its rim is no flat screen or where no scan stands on it.
    """
    height, width = grey.shape
    whole = Box(0, 0, width, height)
    text, window = (max(min(height, width) // part, 1) for part in (TEXT, WINDOW))
    screen = _screen(grey, rim=text)
    if not screen.any():
        return whole
    lit = np.where(screen, np.float32(0), np.float32(1))[grey]
    dense = (cv2.blur(lit, (window, window)) > 0.5).astype(np.uint8)
    piece = _largest_piece(dense, text)
    return Box(*map(int, cv2.boundingRect(piece))) if piece.any() else whole


def _screen(grey: np.ndarray, rim: int) -> np.ndarray:
    """Return which levels belong to the screen, bool (256,); none where they fill under half of the rim."""
    inner = grey[rim:-rim, rim:-rim]
    counts = np.bincount(grey.ravel(), minlength=256) - np.bincount(inner.ravel(), minlength=256)
    shares = counts / counts.sum()
    levels = np.convolve(shares > SHARE, np.ones(2 * FLAT + 1), mode="same") > 0
    return levels & (shares[levels].sum() >= 0.5)


def _largest_piece(dense: np.ndarray, text: int) -> np.ndarray:
    """Return the largest connected piece of a mask (H, W) after parts as thin as text are removed."""
    brush = np.ones((text, text), np.uint8)
    thick = cv2.morphologyEx(dense, cv2.MORPH_OPEN, brush)
    count, pieces, facts, _ = cv2.connectedComponentsWithStats(thick)
    if count == 1:  # the background alone
        return np.zeros_like(dense)
    largest = 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())
    # The square brush took the sharp corners of a sector; they lie within its width and belong to it.
    return cv2.dilate((pieces == largest).astype(np.uint8), brush) & dense
