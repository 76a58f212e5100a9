"""Screen capture of the elastography scanner: elastogram above, the same view in grey below."""

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fibrolab.phantom import beam
from fibrolab.phantom.bmode import tissue_image
from fibrolab.phantom.elastogram import (
    Q_BOX_MM,
    TOP_KPA,
    box_size,
    colours,
    fluid,
    place_box,
    q_box,
    stiffness,
    view_depth,
)
from fibrolab.phantom.patient import Body, Exam
from fibrolab.phantom.tissue import SKIN_MM, tissue

OPACITY = 0.9  # of the colours over the grey image
SPREAD = 0.06  # SD of ln kPa between the captures of a patient
READING_ERROR = 0.03  # relative SD of the scanner's reading
SCREEN_WIDTH = 480  # width [px] of a screen for which lengths and letters are given
BAR = (12, 40, 11, 130)  # left, top, width and height of the colour bar
WHITE, LETTERS = (255, 255, 255), (190, 190, 190)

Pixels8 = NDArray[np.uint8]


class Capture(NamedTuple):
    """A screen `(3 W / 2, W, 3)`, and the reading that the sonographer took from it."""

    screen: Pixels8
    lsm_kpa: float


def capture(body: Body, exam: Exam, kilopascal: float, width: int, rng: np.random.Generator) -> Capture:
    """Draw one screen of elastography.

    Args:
        body: Acoustic properties; the severity affects only the grey levels.
        exam: Scanner and settings; the depth of view is replaced by one that fits the colour box.
        kilopascal: Median stiffness of the liver; it affects only the colours.
        width: Width of the screen [px]; its height is 1.5 times as large.
        rng: The capture's random stream.
    """
    size = box_size(body, rng)
    exam = replace(exam, depth_mm=view_depth(*size[:2]))
    view = tissue(beam.polar_grid(exam.scanner, exam.depth_mm), body, rng)
    shape = (3 * width // 4, width)
    grey = tissue_image(view, exam, shape, rng)
    pixels = beam.pixels(exam.scanner, exam.depth_mm, shape)
    box = place_box(view, exam, *size)
    inside = box.holds(pixels)
    median = kilopascal * np.exp(rng.normal(0, SPREAD))
    modulus = stiffness(pixels, box, SKIN_MM + body.fat_mm + body.muscle_mm, median, rng)
    is_fluid = beam.scan_convert(255 * fluid(view).astype(np.float32), exam.scanner, exam.depth_mm, shape)
    modulus[is_fluid > 127] = np.nan
    circle = q_box(modulus, inside, pixels.pitch_mm)
    values = _within(modulus, inside, circle)
    lsm = round(float(np.mean(values) * np.exp(rng.normal(0, READING_ERROR))), 1)
    below = np.repeat(grey[..., None], 3, axis=2)
    above = _blended(below, modulus, inside)
    _draw_outlines(above, inside, circle)
    _draw_bar(above)
    _write(above, exam, [f"Mean {lsm:.1f} kPa", f"SD {np.std(values):.1f} kPa", f"Diam {Q_BOX_MM:.0f} mm"])
    return Capture(np.vstack([above, below]), lsm)


def _within(modulus: NDArray, inside: NDArray[np.bool_], circle: tuple[int, int, int]) -> NDArray:
    """Return the stiffness [kPa] in the reading's circle, or in the whole box if the circle is empty."""
    column, row, radius = circle
    disc = np.zeros(modulus.shape, np.uint8)
    cv2.circle(disc, (column, row), radius, 1, thickness=-1)
    filled = inside & np.isfinite(modulus)
    measured = filled & (disc > 0)
    return modulus[measured if measured.any() else filled]


def _blended(grey: Pixels8, modulus: NDArray, inside: NDArray[np.bool_]) -> Pixels8:
    """Overlay colours on the grey image where there is a measurement."""
    mixed = cv2.addWeighted(colours(modulus), OPACITY, grey, 1 - OPACITY, 0)
    return np.where((inside & np.isfinite(modulus))[..., None], mixed, grey)


def _draw_outlines(screen: Pixels8, inside: NDArray[np.bool_], circle: tuple[int, int, int]) -> None:
    """Draw the box's edge and the circle of the reading."""
    edges, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(screen, edges, -1, WHITE, 1)
    column, row, radius = circle
    cv2.circle(screen, (column, row), radius, WHITE, 1, cv2.LINE_AA)


def _draw_bar(screen: Pixels8) -> None:
    """Draw the colour bar at the left edge, with labels at its ends."""
    scale = screen.shape[1] / SCREEN_WIDTH
    left, top, width, height = (max(round(length * scale), 1) for length in BAR)
    ramp = colours(np.linspace(TOP_KPA, 0, height))
    screen[top : top + height, left : left + width] = ramp[:, None]
    _letters(screen, "kPa", 6, 20)
    _letters(screen, f"{TOP_KPA:.0f}", 9, 35)
    _letters(screen, "0", 13, BAR[1] + BAR[3] + 14)


def _write(screen: Pixels8, exam: Exam, reading: list[str]) -> None:
    """Draw the scanner's text: model and settings at the upper right, reading at the lower left."""
    scanner = exam.scanner
    settings = [scanner.name, f"{scanner.frequency_mhz:.1f} MHz", f"{exam.depth_mm / 10:.1f} cm"]
    for line, text in enumerate(settings):
        _letters(screen, text, 400, 18 + 15 * line)
    for line, text in enumerate(["+ Q-Box", *reading]):
        _letters(screen, text, 6, 300 + 15 * line)


def _letters(screen: Pixels8, text: str, left: int, bottom: int) -> None:
    """Draw text at a position given for `SCREEN_WIDTH`, inside the upper panel."""
    scale = screen.shape[1] / SCREEN_WIDTH
    place = (round(left * scale), round(bottom * scale))
    cv2.putText(screen, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38 * scale, LETTERS, 1, cv2.LINE_AA)
