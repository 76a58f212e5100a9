"""Focal liver lesions: an image with one lesion in the liver, and its bounding rectangle.

The classes are those of Tangruangkiat et al. 2024 (J. Appl. Clin. Med. Phys. 25, e14210): no lesion, simple
cyst, focal fatty sparing, haemangioma, hepatocellular carcinoma. Each is drawn with the signs that a reader
looks for. Their sizes and levels are our choice; those of different classes overlap.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fibrolab.data.box import Box
from fibrolab.phantom import beam
from fibrolab.phantom.beam import Array, Grid
from fibrolab.phantom.bmode import tissue_image
from fibrolab.phantom.patient import Body, Exam
from fibrolab.phantom.texture import field
from fibrolab.phantom.tissue import BLOOD_DB, FLUID_ATTENUATION, LESION, Tissue, tissue

RADIUS_MM = (5.0, 18.0)  # mean radius; the same for all classes, so that a rectangle's size shows no class
FATTY_PROBABILITY = 0.35  # of a fatty liver, without sparing or carcinoma
FATTY_DB, FATTY_ATTENUATION = (3.5, 6.5), (0.06, 0.16)  # increase of echo and of attenuation by fat
CIRRHOTIC, SMOOTH = (0.55, 0.9), (0.03, 0.3)  # severity of fibrosis around a carcinoma, around sparing
CYST_DB, CYST_ATTENUATION = -45.0, 0.05
SEPTUM_WIDTH = 0.25  # in standard deviations of the mosaic's field
TRIALS = 24  # number of positions tried, of which the best is taken
FAINTEST_DB = 9.0  # loss above which a lesion would not be visible
RECTANGLE_MM = (2.0, 5.0)  # from the lesion's edge to the rectangle


@dataclass(frozen=True)
class Lesion:
    """Geometry of a lesion; distances in mm, maps `(SAMPLES, LINES)`."""

    grid: Grid
    x: float
    y: float
    radius: float
    distance: Array  # signed, to its edge; negative inside
    liver: NDArray[np.bool_]  # parenchyma
    organ: NDArray[np.bool_]  # parenchyma and vessels, which a growing mass displaces


def picture(
    lesion_class: str, body: Body, exam: Exam, size: int | tuple[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], Box]:
    """Draw one view with a lesion.

    Args:
        lesion_class: One of `CLASSES`.
        body: Acoustic properties; sparing is drawn in a fatty liver, carcinoma in a cirrhotic one.
        exam: Scanner and settings.
        size: Side of the image, or its height and width [px].
        rng: The view's random stream.

    Returns:
        Grey levels `(H, W)`, black outside the sector, and the rectangle around the lesion or, if there is
        none, around normal parenchyma.

    Raises:
        KeyError: An unknown class.
    """
    view, lesion = lesioned(lesion_class, body, exam, rng)
    margin = np.float32(rng.uniform(*RECTANGLE_MM))
    marked = np.where(lesion.distance < margin, np.float32(255), np.float32(0))
    image = tissue_image(view, exam, size, rng)
    return image, _bounds(beam.scan_convert(marked, exam.scanner, exam.depth_mm, size))


def lesioned(lesion_class: str, body: Body, exam: Exam, rng: np.random.Generator) -> tuple[Tissue, Lesion]:
    """Draw the tissue of one view with a lesion, see `picture`, and return it with the lesion's geometry."""
    waviness, paint = SIGNS[lesion_class]
    host = _host(lesion_class, body, rng)
    view = tissue(beam.polar_grid(exam.scanner, exam.depth_mm), host, rng)
    lesion = _placed(view, host, exam, waviness, rng)
    paint(view, lesion, host, rng)
    if paint is not _nothing:
        np.copyto(view.structure, np.uint8(LESION), where=(lesion.distance < 0) & lesion.organ)
    return view, lesion


def _host(lesion_class: str, body: Body, rng: np.random.Generator) -> Body:
    """Return the body with a liver in which lesions of this class occur."""
    cirrhotic, smooth = rng.uniform(*CIRRHOTIC), rng.uniform(*SMOOTH)
    fatty = rng.random() < FATTY_PROBABILITY
    echo_db = body.liver_echo_db + rng.uniform(*FATTY_DB)
    attenuation = body.liver_attenuation + rng.uniform(*FATTY_ATTENUATION)
    if lesion_class == "HCC":
        return replace(body, severity=cirrhotic)
    if lesion_class != "FFS" and not fatty:
        return body
    severity = smooth if lesion_class == "FFS" else body.severity
    return replace(body, severity=severity, liver_echo_db=echo_db, liver_attenuation=attenuation)


def _placed(view: Tissue, body: Body, exam: Exam, waviness: float, rng: np.random.Generator) -> Lesion:
    """Place an ellipse with a wavy outline at the random position that shows the most liver."""
    grid, radius = beam.polar_grid(exam.scanner, exam.depth_mm), rng.uniform(*RADIUS_MM)
    liver = view.attenuation == np.float32(body.liver_attenuation)
    visible = liver & (beam.attenuation_db(view.attenuation, exam.scanner, exam.depth_mm) < FAINTEST_DB)
    rows = (rng.uniform(0.2, 0.75, TRIALS) * grid.x.shape[0]).astype(int)
    columns = (rng.uniform(0.15, 0.85, TRIALS) * grid.x.shape[1]).astype(int)
    places = [(float(grid.x[place]), float(grid.y[place])) for place in zip(rows, columns, strict=True)]
    reach = radius + RECTANGLE_MM[1]
    x, y = max(places, key=lambda place: _covered(grid, visible, place[0], place[1], reach))
    stretch = np.sqrt(rng.uniform(1.0, 1.5))
    distance = _ellipse(grid, x, y, radius * stretch, radius / stretch, rng.uniform(0, np.pi))
    distance = distance + np.float32(waviness * radius) * field(grid.x, grid.y, 0.35 * radius, rng)
    organ = liver | (view.attenuation == np.float32(FLUID_ATTENUATION))
    return Lesion(grid, x, y, radius, distance, liver, organ)


def _covered(grid: Grid, mask: NDArray[np.bool_], x: float, y: float, radius: float) -> float:
    """Return the proportion of a disc that the mask covers; parts outside the sector are not covered."""
    disc = np.hypot(grid.x - np.float32(x), grid.y - np.float32(y)) < radius
    area = grid.step_mm * (grid.arc[:, 1:2] - grid.arc[:, :1])  # of a sample [mm^2]
    return float(np.sum(area * (disc & mask)) / (np.pi * radius**2))


def _ellipse(grid: Grid, x: float, y: float, long: float, short: float, tilt: float) -> Array:
    """Return the approximate signed distance [mm] to an ellipse with these half axes."""
    across, down = grid.x - np.float32(x), grid.y - np.float32(y)
    u, v = across * np.cos(tilt) + down * np.sin(tilt), down * np.cos(tilt) - across * np.sin(tilt)
    return ((np.hypot(u / long, v / short) - 1) * short).astype(np.float32)


def _nothing(view: Tissue, lesion: Lesion, body: Body, rng: np.random.Generator) -> None:
    """Draw no lesion: normal parenchyma."""


def _cyst(view: Tissue, lesion: Lesion, body: Body, rng: np.random.Generator) -> None:
    """Draw a cyst: anechoic fluid, a thin wall, and a brighter liver behind it."""
    view.replace((lesion.distance < 0) & lesion.organ, CYST_DB, CYST_ATTENUATION)
    view.interface(lesion.distance, lesion.grid, strength=2.5, width_mm=0.35, sharpness=6)


def _sparing(view: Tissue, lesion: Lesion, body: Body, rng: np.random.Generator) -> None:
    """Draw focal fatty sparing: darker, angular, with soft borders, crossed by undisturbed vessels.

    It is often near the gallbladder, where venous blood from the gallbladder replaces fat-rich portal blood.
    """
    inside = 1 / (1 + np.exp(np.clip(lesion.distance / np.float32(0.6), -20, 20)))
    view.scatter_db -= rng.uniform(6.0, 9.0) * inside * lesion.liver
    view.attenuation -= np.float32(FATTY_ATTENUATION[0]) * inside * lesion.liver
    long, short, tilt = rng.uniform(13, 20), rng.uniform(6, 9), rng.uniform(-1, 1)
    beside, direction = rng.random() < 0.6, rng.uniform(0.1, 0.9) * np.pi  # deeper than the sparing
    away = lesion.radius + short + 2
    x, y = lesion.x + away * np.cos(direction), lesion.y + away * np.sin(direction)
    if beside and _covered(lesion.grid, lesion.organ, x, y, long) > 0.95:
        bladder = _ellipse(lesion.grid, x, y, long, short, tilt)
        view.replace(bladder < 0, BLOOD_DB, FLUID_ATTENUATION)
        view.interface(bladder - 0.8, lesion.grid, strength=5.0, width_mm=0.7, sharpness=2)


def _haemangioma(view: Tissue, lesion: Lesion, body: Body, rng: np.random.Generator) -> None:
    """Draw a haemangioma: bright, homogeneous and sharply bordered, with little absorption."""
    grid, level = lesion.grid, _level_db(view, lesion)
    even = level + rng.uniform(5.0, 9.0) + np.float32(0.7) * field(grid.x, grid.y, 3.0, rng)
    absorbed = body.liver_attenuation - rng.uniform(0.1, 0.3)
    view.replace((lesion.distance < 0) & lesion.organ, even, absorbed)


def _carcinoma(view: Tissue, lesion: Lesion, body: Body, rng: np.random.Generator) -> None:
    """Draw a hepatocellular carcinoma: nodules and septa in a dark halo; larger ones vary more."""
    grid, level = lesion.grid, _level_db(view, lesion)
    nodules = field(grid.x, grid.y, rng.uniform(0.15, 0.25) * lesion.radius, rng)
    septa = np.exp(-0.5 * (field(grid.x, grid.y, 0.3 * lesion.radius, rng) / np.float32(SEPTUM_WIDTH)) ** 2)
    variety = min(1.0, lesion.radius / 15)
    mosaic = level + rng.uniform(-8.0, -2.0) + variety * (6.0 * np.tanh(3 * nodules) + 8.0 * septa)
    halo = rng.uniform(1.5, 3.0)
    view.replace((lesion.distance < 0) & lesion.organ, level - 11.0, body.liver_attenuation)
    absorbed = body.liver_attenuation + rng.uniform(-0.1, 0.1)
    view.replace((lesion.distance < -halo) & lesion.organ, mosaic, absorbed)


def _level_db(view: Tissue, lesion: Lesion) -> float:
    """Return the mean echo power of the parenchyma [dB]."""
    return float(10 * np.log10(np.mean(10 ** (view.scatter_db[lesion.liver] / 10))))


Painter = Callable[[Tissue, Lesion, Body, np.random.Generator], None]
SIGNS: dict[str, tuple[float, Painter]] = {  # waviness of the outline, in radii, and what is drawn
    "non_FLL": (0.08, _nothing),
    "cyst": (0.03, _cyst),
    "FFS": (0.2, _sparing),
    "haemangioma": (0.08, _haemangioma),
    "HCC": (0.06, _carcinoma),
}
CLASSES = tuple(SIGNS)


def _bounds(marked: NDArray[np.uint8]) -> Box:
    """Return the bounding rectangle of a mask."""
    rows, columns = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    left, top = int(columns[0]), int(rows[0])
    return Box(left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1)
