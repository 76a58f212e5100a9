"""A breathing clip of one view: how the liver moves and deforms, frame by frame.

The liver slides along the wall as the diaphragm pulls, through the picture and a little out of its plane, and
the heart, beating behind the diaphragm, dents it. Scatterers and anatomy are drawn once and carried along;
every frame is then formed anew by the scanner, with noise of its own. What leaves the plane takes its speckle
along; anatomy and coarse texture are drawn as if they went on unchanged across it.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fibrolab.phantom import beam
from fibrolab.phantom.beam import Array, ComplexArray, Grid, Scanner
from fibrolab.phantom.bmode import formed
from fibrolab.phantom.patient import Body, Exam
from fibrolab.phantom.tissue import SKIN_MM, tissue

SIDE = 32  # lines drawn beyond either edge of the sector, for the tissue that slides in from there
BREATH_S, BREATH_MM = (3.0, 5.0), (10.0, 20.0)  # period; way along the body's axis
BREATH_DEEP_MM = 2.0  # way towards the probe and back, at most
SLICE_MM, OUT_OF_PLANE_MM = 4.0, (1.5, 4.0)  # way across the picture's plane that brings all new scatterers
BEAT_HZ, BEAT_SHARE = (1.0, 1.5), 0.5  # heart rate; share of the cycle in which the heart pushes
BEAT_MM, BEAT_REACH_MM = 6.0, 45.0  # dent of the softest liver next to the heart, and how far it reaches
HEART_MM = 5.0  # radius within which the push has no direction yet
SLIP_MM = 6.0  # thickness of the layer in which the liver slips along the wall


class _Motion(NamedTuple):
    """Position of the liver in every frame, `(frames,)` each."""

    slide: Array  # across and down [mm], `(frames, 2)`
    turn: Array  # out-of-plane way as an angle: a right one brings all new scatterers
    push: Array  # of the heart, 0..1


def clip(
    body: Body,
    exam: Exam,
    size: int | tuple[int, int],
    rng: np.random.Generator,
    frames: int = 30,
    fps: float = 15.0,
    deformation: float = 1.0,
) -> NDArray[np.uint8]:
    """Draw a film of one view.

    The heart's push strains the left lobe of healthy livers by 12.5 % and of fibrotic ones by 6.5 % (Harouni
    et al. 2015, Magn. Reson. Med. 74, 106-114): that is the trace of stiffness which `deformation` scales.
    Only a film shows it. The breath slides every liver as a rigid body; a single frame of a dented liver does
    not tell its shape at rest; and the first and the middle frame, which stand for the film as stills, lie
    between two beats, where nothing is dented.

    Args:
        body: What the sound meets.
        exam: Scanner and settings.
        size: Side of the picture, or its height and width [px].
        rng: The clip's random stream; how much it is asked does not depend on `deformation`.
        frames: Number of frames, N >= 1.
        fps: Frames a second.
        deformation: Strain under the heart's push against the softest liver, 0..1.

    Returns:
        Grey levels `(N, H, W)`, black outside the sector.
    """
    grid, wide = beam.polar_grid(exam.scanner, exam.depth_mm), _wide_grid(exam.scanner, exam.depth_mm)
    view = tissue(wide, body, rng)
    strength = beam.amplitude(view.scatter_db)
    here, beside = (_wide_speckle(rng) * strength for _ in range(2))
    motion = _motion(frames, fps, rng)
    dent = np.float32(deformation) * _heart(grid, rng)
    free, wide_free = _free(grid, body), _free(wide, body)
    film = []
    for slide, turn, push in zip(*motion, strict=True):
        scatterers = np.cos(turn * wide_free) * here + np.sin(turn * wide_free) * beside + view.reflection
        rows, columns = _origin(grid, exam.scanner, free * (slide[:, None, None] + push * dent))
        carried = _carried(scatterers, view.attenuation, rows, columns)
        film.append(formed(*carried, exam, size, rng))
    return np.stack(film)


def _wide_grid(scanner: Scanner, depth_mm: float) -> Grid:
    """Return the sector's grid with more lines at either edge, `(SAMPLES, SIDE + LINES + SIDE)`."""
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


def _free(grid: Grid, body: Body) -> Array:
    """Return 0 in the wall, which the probe holds, 1 in the liver, values between in the sliding layer."""
    into_liver = (grid.depth - np.float32(SKIN_MM + body.fat_mm + body.muscle_mm)) / np.float32(SLIP_MM)
    share = np.clip(into_liver, 0, 1)
    return share**2 * (3 - 2 * share)


def _motion(frames: int, fps: float, rng: np.random.Generator) -> _Motion:
    """Draw breath and heartbeat over time.

    Breathing rests longer at its end than at its height: an even power of a cosine (Lujan et al. 1999, Med.
    Phys. 26, 715-720). In quiet breathing the liver moves by one or two centimetres along the body (review:
    Langen and Jones 2001, Int. J. Radiat. Oncol. Biol. Phys. 50, 265-278).
    """
    seconds = np.arange(frames) / fps
    breath = np.cos(np.pi * (seconds / rng.uniform(*BREATH_S) + rng.random())) ** 4
    across = rng.choice([-1, 1]) * rng.uniform(*BREATH_MM) * (breath - 0.5)
    down = rng.uniform(-BREATH_DEEP_MM, BREATH_DEEP_MM) * breath
    turn = np.pi / 2 * rng.uniform(*OUT_OF_PLANE_MM) / SLICE_MM * breath
    beats = rng.uniform(*BEAT_HZ) * seconds
    ahead = (beats[frames // 2] + 0.5) % 1 - 0.5  # of the middle frame in the cycle, against the first
    cycle = (beats + (1 + BEAT_SHARE) / 2 - ahead / 2) % 1  # both lie about the middle of the heart's rest
    push = np.where(cycle < BEAT_SHARE, np.sin(np.pi * cycle / BEAT_SHARE) ** 2, 0.0)
    slide = np.stack([across, down], axis=1)
    return _Motion(*(course.astype(np.float32) for course in (slide, turn, push)))


def _heart(grid: Grid, rng: np.random.Generator) -> Array:
    """Return the largest displacement by the heart [mm], `(2, SAMPLES, LINES)`, which falls with distance."""
    column = rng.choice([0.2, 0.8]) + rng.uniform(-0.1, 0.1)
    place = int(rng.uniform(0.5, 0.8) * beam.SAMPLES), int(column * beam.LINES)
    away = np.stack([grid.x - grid.x[place], grid.y - grid.y[place]])
    distance = np.sqrt(np.sum(away**2, axis=0) + np.float32(HEART_MM**2))
    return np.float32(BEAT_MM) * np.exp(-distance / np.float32(BEAT_REACH_MM)) * away / distance


def _origin(grid: Grid, scanner: Scanner, moved: Array) -> tuple[Array, Array]:
    """Return row and column in the wide grid of the tissue that a displacement [mm] moves to each sample."""
    radius = np.float32(scanner.radius_mm)
    x, y = grid.x - moved[0], grid.y - moved[1] + radius
    rows = (np.hypot(x, y) - radius) / np.float32(grid.step_mm)
    columns = np.arctan2(x, y) / np.float32(grid.step_rad) + np.float32((beam.LINES - 1) / 2 + SIDE)
    return rows, columns


def _carried(
    scatterers: ComplexArray, attenuation: Array, rows: Array, columns: Array
) -> tuple[ComplexArray, Array]:
    """Return scatterers and attenuation of this frame, `(SAMPLES, LINES)` each.

    The Lanczos kernel all but keeps the power of white scatterers; a shorter one would dim them wherever they
    come to lie between two samples, and the film would flicker.
    """
    tissue_maps = np.dstack([scatterers.real, scatterers.imag, attenuation])
    moved = cv2.remap(tissue_maps, columns, rows, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REFLECT)
    return moved[..., 0] + 1j * moved[..., 1], np.ascontiguousarray(moved[..., 2])
