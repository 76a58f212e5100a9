"""Two-dimensional shear-wave elastography: the colour box in a view, the stiffness in it, its colours."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fibrolab.phantom import beam
from fibrolab.phantom.beam import Array, Pixels
from fibrolab.phantom.measurements import STIFFEST_KPA
from fibrolab.phantom.patient import Body, Exam
from fibrolab.phantom.texture import field
from fibrolab.phantom.tissue import SKIN_MM, Tissue

TOP_KPA = 40.0  # of the colour scale
VIEWS_MM = (80.0, 95.0, 110.0, 130.0)  # possible depths of view: the smallest that shows the box is taken
BEHIND_MM = 18.0  # least depth of view behind the box
UNDER_CAPSULE_MM = (10.0, 15.0)  # recommended depth of the box: one to two centimetres below the capsule
WIDTH_MM, HEIGHT_MM = (36.0, 44.0), (30.0, 36.0)
PLACES = 7  # number of positions that the sonographer tries, from side to side
SHADOW_DB = 15.0  # least loss of a shadow, where the box is not placed
Q_BOX_MM = 20.0  # diameter of the circle in which the stiffness is read
FLUID_DB = -9.0  # tissue whose mean scattering over a few millimetres is lower conducts no shear wave
PATCHES = ((0.12, 6.0), (0.06, 2.5))  # SD of ln kPa within a liver, and its spatial scale [mm]
GAP_MM = 2.2  # spatial scale of the gaps
REVERBERATION, REVERBERATION_MM = 0.25, 5.0  # apparent stiffening below the capsule [ln kPa], and its depth
DRIFT_PER_MM = 0.003  # apparent stiffening with depth [ln kPa / mm]
# Gaps are where a random field exceeds a level, which decreases with depth like the shear waves.
GAP_LEVELS = (3.0, 1.7)  # at the top and at the bottom of the box, in standard deviations
# From blue (soft) to red (stiff), with linear interpolation between these colours.
RAMP = np.array([[0, 0, 255], [0, 255, 255], [40, 255, 40], [255, 255, 0], [255, 0, 0]], np.float32)


@dataclass(frozen=True)
class ColourBox:
    """Box of the elastogram: a trapezoid with round ends that follows the beams."""

    near_mm: float  # depths along the beam
    far_mm: float
    left: float  # beams [rad]
    right: float

    def holds(self, pixels: Pixels) -> NDArray[np.bool_]:
        """Return for each pixel whether it is inside, `(H, W)`."""
        depth = (pixels.depth >= self.near_mm) & (pixels.depth < self.far_mm)
        return depth & (pixels.angle >= self.left) & (pixels.angle < self.right)


def box_size(body: Body, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw the depth at which the box begins, its height and its width at half height [mm]."""
    capsule = SKIN_MM + body.fat_mm + body.muscle_mm
    return capsule + rng.uniform(*UNDER_CAPSULE_MM), rng.uniform(*HEIGHT_MM), rng.uniform(*WIDTH_MM)


def view_depth(near_mm: float, height_mm: float) -> float:
    """Return the depth of view [mm] that a sonographer sets for that box."""
    return next((view for view in VIEWS_MM if view >= near_mm + height_mm + BEHIND_MM), VIEWS_MM[-1])


def place_box(view: Tissue, exam: Exam, near_mm: float, height_mm: float, width_mm: float) -> ColourBox:
    """Place the box at the position with the least fluid and shadow, preferably in the middle."""
    scanner, far_mm = exam.scanner, near_mm + height_mm
    half = width_mm / 2 / (scanner.radius_mm + near_mm + height_mm / 2)
    edge = np.deg2rad(scanner.opening_deg) / 2 - half - 0.03
    grid = beam.polar_grid(scanner, exam.depth_mm)
    angles = np.linspace(-1, 1, beam.LINES) * np.deg2rad(scanner.opening_deg) / 2
    bad = fluid(view) | (beam.attenuation_db(view.attenuation, scanner, exam.depth_mm) > SHADOW_DB)
    rows = (grid.depth[:, 0] >= near_mm) & (grid.depth[:, 0] < far_mm)
    tried = np.linspace(-edge, edge, PLACES)
    covered = [bad[np.ix_(rows, np.abs(angles - middle) < half)].mean() for middle in tried]
    middle = float(tried[np.argmin(covered + 0.05 * (tried / edge) ** 2)])
    return ColourBox(near_mm, far_mm, middle - half, middle + half)


def fluid(view: Tissue) -> NDArray[np.bool_]:
    """Return where no shear wave propagates: vessels, gallbladder, lung."""
    return cv2.blur(view.scatter_db, (5, 9)) < FLUID_DB


def stiffness(
    pixels: Pixels, box: ColourBox, capsule_mm: float, kilopascal: float, rng: np.random.Generator
) -> Array:
    """Draw Young's modulus [kPa] around the box, NaN where the shear wave is too weak to be measured.

    The artefacts are those that guidelines warn of: stiffening by reverberation near the capsule, and a
    signal that decreases with depth (Dietrich et al. 2017, Ultraschall Med. 38, e16-e47). Their sizes are our
    choice.

    Args:
        pixels: Positions of the pixels, `(H, W)`.
        box: The colour box.
        capsule_mm: Depth of the liver's capsule.
        kilopascal: Median stiffness of this liver in this capture.
        rng: The capture's random stream.
    """
    radius = pixels.depth + np.float32(60)  # of a typical convex probe: it only affects the fields' scale
    x, y = radius * np.sin(pixels.angle), radius * np.cos(pixels.angle)
    coarse, fine = (np.float32(size) * field(x, y, scale_mm, rng) for size, scale_mm in PATCHES)
    below = pixels.depth - np.float32(capsule_mm)
    near = np.float32(REVERBERATION) * np.exp(-np.maximum(below, 0) / np.float32(REVERBERATION_MM))
    drift = np.float32(DRIFT_PER_MM) * (pixels.depth - np.float32((box.near_mm + box.far_mm) / 2))
    modulus = np.minimum(kilopascal * np.exp(coarse + fine + near + drift), np.float32(STIFFEST_KPA))
    deep = (pixels.depth - np.float32(box.near_mm)) / np.float32(box.far_mm - box.near_mm)
    level = GAP_LEVELS[0] + (GAP_LEVELS[1] - GAP_LEVELS[0]) * deep
    return np.where(field(x, y, GAP_MM, rng) < level, modulus, np.float32(np.nan)).astype(np.float32)


def q_box(modulus: Array, inside: NDArray[np.bool_], pitch_mm: float) -> tuple[int, int, int]:
    """Return column, row and radius [px] of the reading's circle: near the box's middle, with few gaps."""
    filled = (inside & np.isfinite(modulus)).astype(np.float32)
    from_edge = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5)
    radius = Q_BOX_MM / 2 / pitch_mm
    side = 2 * round(radius) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)).astype(np.float32)
    coverage = cv2.filter2D(filled, -1, disc / disc.sum(), borderType=cv2.BORDER_CONSTANT)
    quality = coverage + from_edge / max(from_edge.max(), 1)
    row, column = np.unravel_index(int(np.argmax(quality)), quality.shape)
    return int(column), int(row), max(int(radius), 2)


def colours(kilopascal: Array) -> NDArray[np.uint8]:
    """Return the RGB colour of stiffness [kPa] on the scale 0..`TOP_KPA`, `(..., 3)`."""
    position = np.clip(np.nan_to_num(kilopascal) / TOP_KPA, 0, 1) * (len(RAMP) - 1)
    low = np.minimum(position.astype(int), len(RAMP) - 2)
    weight = (position - low)[..., None]
    return np.rint(RAMP[low] * (1 - weight) + RAMP[low + 1] * weight).astype(np.uint8)
