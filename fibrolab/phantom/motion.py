"""A breathing clip of one view: motion and deformation of the liver, frame by frame.

With the breath, the liver slides along the abdominal wall, within the image and slightly out of its plane.
With each heartbeat, the heart deforms it from behind the diaphragm. Scatterers and anatomy are drawn once and
moved in each frame; the scanner then forms the frame with new noise. Motion out of the plane replaces the
speckle; anatomy and coarse texture are drawn as if they continued unchanged across the plane.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fibrolab.phantom import beam
from fibrolab.phantom.beam import Array, ComplexArray, Grid, Scanner
from fibrolab.phantom.bmode import scatterer_image
from fibrolab.phantom.patient import Body, Exam
from fibrolab.phantom.tissue import SKIN_MM, tissue

SIDE = 32  # lines drawn outside each edge of the sector, for the tissue that slides in from there
BREATH_S, BREATH_MM = (3.0, 5.0), (10.0, 20.0)  # period of breathing; displacement along the body's axis
BREATH_DEEP_MM = 2.0  # largest displacement towards the probe
SLICE_MM, OUT_OF_PLANE_MM = 4.0, (1.5, 4.0)  # displacement that replaces all scatterers; that of a breath
BEAT_HZ, BEAT_PROPORTION = (1.0, 1.5), 0.5  # heart rate; proportion of the cycle in which the heart pushes
BEAT_MM, BEAT_REACH_MM = 6.0, 45.0  # displacement of the softest liver next to the heart; its decay length
HEART_MM = 5.0  # radius within which the displacement decreases to zero
SLIP_MM = 6.0  # thickness of the layer in which the liver slides along the wall


class _Motion(NamedTuple):
    """Position of the liver in every frame, `(frames,)` each."""

    slide: Array  # displacement by the breath, across and down [mm], `(frames, 2)`
    angle: Array  # displacement out of the plane, as an angle: 90 degrees replace all scatterers
    push: Array  # strength of the heart's push, 0..1


def clip(
    body: Body,
    exam: Exam,
    size: int | tuple[int, int],
    rng: np.random.Generator,
    frames: int = 30,
    fps: float = 15.0,
    deformation: float = 1.0,
) -> NDArray[np.uint8]:
    """Draw a clip of one view.

    The heart's push strains the left lobe of healthy livers by 12.5 % and of fibrotic ones by 6.5 % (Harouni
    et al. 2015, Magn. Reson. Med. 74, 106-114); `deformation` scales this strain by the stiffness. Only a
    clip shows it: the breath moves every liver as a rigid body, a single frame of a deformed liver does not
    show its shape at rest, and the first and the middle frame, which are used as stills, are between two
    beats, without deformation.

    Args:
        body: Acoustic properties.
        exam: Scanner and settings.
        size: Side of the image, or its height and width [px].
        rng: The clip's random stream; the number of draws does not depend on `deformation`.
        frames: Number of frames, N >= 1.
        fps: Frames a second.
        deformation: Strain by the heart's push relative to the softest liver, 0..1.

    Returns:
        Grey levels `(N, H, W)`, black outside the sector.
    """
    grid, wide = beam.polar_grid(exam.scanner, exam.depth_mm), _wide_grid(exam.scanner, exam.depth_mm)
    view = tissue(wide, body, rng)
    strength = beam.amplitude(view.scatter_db)
    in_plane, out_of_plane = (_wide_speckle(rng) * strength for _ in range(2))
    motion = _motion(frames, fps, rng)
    heart = np.float32(deformation) * _heart_displacement(grid, rng)
    mobility, wide_mobility = _mobility(grid, body), _mobility(wide, body)
    images = []
    for slide, angle, push in zip(*motion, strict=True):
        turn = angle * wide_mobility
        scatterers = np.cos(turn) * in_plane + np.sin(turn) * out_of_plane + view.reflection
        rows, columns = _source(grid, exam.scanner, mobility * (slide[:, None, None] + push * heart))
        moved = _moved(scatterers, view.attenuation, rows, columns)
        images.append(scatterer_image(*moved, exam, size, rng))
    return np.stack(images)


def _wide_grid(scanner: Scanner, depth_mm: float) -> Grid:
    """Return the sector's grid with more lines at each edge, `(SAMPLES, SIDE + LINES + SIDE)`."""
    inner = beam.polar_grid(scanner, depth_mm)
    angle = (np.arange(-SIDE, beam.LINES + SIDE) - (beam.LINES - 1) / 2) * inner.step_rad
    depth, angle = np.meshgrid(inner.depth[:, 0], angle, indexing="ij")
    radius = scanner.radius_mm + depth
    positions = (radius * np.sin(angle), radius * np.cos(angle) - scanner.radius_mm, depth, radius * angle)
    x, y, z, arc = (position.astype(np.float32) for position in positions)
    return Grid(x, y, z, arc, inner.step_mm, inner.step_rad)


def _wide_speckle(rng: np.random.Generator) -> ComplexArray:
    """Draw scatterers for the wide grid."""
    return np.hstack([beam.speckle(rng), beam.speckle(rng)[:, : 2 * SIDE]])


def _mobility(grid: Grid, body: Body) -> Array:
    """Return 0 in the wall, which the probe holds, 1 in the liver, values between in the sliding layer."""
    into_liver = (grid.depth - np.float32(SKIN_MM + body.fat_mm + body.muscle_mm)) / np.float32(SLIP_MM)
    fraction = np.clip(into_liver, 0, 1)
    return fraction**2 * (3 - 2 * fraction)


def _motion(frames: int, fps: float, rng: np.random.Generator) -> _Motion:
    """Draw breath and heartbeat over time.

    Breathing pauses longer after expiration than after inspiration: an even power of a cosine (Lujan et al.
    1999, Med. Phys. 26, 715-720). In quiet breathing the liver moves by one or two centimetres along the body
    (review: Langen and Jones 2001, Int. J. Radiat. Oncol. Biol. Phys. 50, 265-278).
    """
    seconds = np.arange(frames) / fps
    breath = np.cos(np.pi * (seconds / rng.uniform(*BREATH_S) + rng.random())) ** 4
    across = rng.choice([-1, 1]) * rng.uniform(*BREATH_MM) * (breath - 0.5)
    down = rng.uniform(-BREATH_DEEP_MM, BREATH_DEEP_MM) * breath
    angle = np.pi / 2 * rng.uniform(*OUT_OF_PLANE_MM) / SLICE_MM * breath
    beats = rng.uniform(*BEAT_HZ) * seconds
    ahead = (beats[frames // 2] + 0.5) % 1 - 0.5  # phase of the middle frame, relative to the first
    cycle = (beats + (1 + BEAT_PROPORTION) / 2 - ahead / 2) % 1  # both near the middle of the heart's rest
    push = np.where(cycle < BEAT_PROPORTION, np.sin(np.pi * cycle / BEAT_PROPORTION) ** 2, 0.0)
    slide = np.stack([across, down], axis=1)
    return _Motion(*(values.astype(np.float32) for values in (slide, angle, push)))


def _heart_displacement(grid: Grid, rng: np.random.Generator) -> Array:
    """Return the largest displacement by the heart [mm], which falls with distance, `(2, SAMPLES, LINES)`."""
    column = rng.choice([0.2, 0.8]) + rng.uniform(-0.1, 0.1)
    place = int(rng.uniform(0.5, 0.8) * beam.SAMPLES), int(column * beam.LINES)
    away = np.stack([grid.x - grid.x[place], grid.y - grid.y[place]])
    distance = np.sqrt(np.sum(away**2, axis=0) + np.float32(HEART_MM**2))
    return np.float32(BEAT_MM) * np.exp(-distance / np.float32(BEAT_REACH_MM)) * away / distance


def _source(grid: Grid, scanner: Scanner, displacement: Array) -> tuple[Array, Array]:
    """Return row and column in the wide grid of the tissue that a displacement [mm] moves to each sample."""
    radius = np.float32(scanner.radius_mm)
    x, y = grid.x - displacement[0], grid.y - displacement[1] + radius
    rows = (np.hypot(x, y) - radius) / np.float32(grid.step_mm)
    columns = np.arctan2(x, y) / np.float32(grid.step_rad) + np.float32((beam.LINES - 1) / 2 + SIDE)
    return rows, columns


def _moved(
    scatterers: ComplexArray, attenuation: Array, rows: Array, columns: Array
) -> tuple[ComplexArray, Array]:
    """Return scatterers and attenuation at their positions in this frame, `(SAMPLES, LINES)` each.

    The Lanczos kernel nearly preserves the power of white scatterers. A shorter kernel would weaken those
    that are moved between two samples, and the clip would flicker.
    """
    tissue_maps = np.dstack([scatterers.real, scatterers.imag, attenuation])
    moved = cv2.remap(tissue_maps, columns, rows, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
    return moved[..., 0] + 1j * moved[..., 1], np.ascontiguousarray(moved[..., 2])
