"""Anatomy of one view of the right upper abdomen: scattering, reflection, absorption at polar samples.

The order of draws from the view's random stream does not depend on the severity: the same stream with another
severity gives the same view of the same person with another liver.

The signs of fibrosis increase with its severity, from 0 to 1, and are those that readers grade: coarse
parenchyma, nodular surface, narrow hepatic veins (Choong et al. 2012, J. Clin. Imaging Sci. 2, 58; Berzigotti
et al. 2010, J. Hepatol. 52, 846-853). Their sizes are our choice.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fibrolab.phantom.beam import Array, Grid
from fibrolab.phantom.patient import Body
from fibrolab.phantom.texture import field

BLOOD_DB, FLUID_ATTENUATION = -26.0, 0.1
PIECE_MM = 13.0  # length of the straight pieces of a vessel
SKIN_MM, SKIN_DB = 2.0, 8.0
FAT_DB, FAT_ATTENUATION = -8.0, 0.6
MUSCLE_DB, MUSCLE_ATTENUATION = -6.0, 0.8
LUNG_DB, LUNG_FADING_DB_MM = -10.0, 0.3  # diffuse and mirror echoes behind the diaphragm
RIB_MM, RIB_ATTENUATION = 5.0, 7.0
AIR_ATTENUATION = 14.0  # of the air gap under an edge of the probe that has no contact

MOTTLE_MM, NODULE_MM = 1.3, 3.0  # scales of clustered scatterers and of regenerative nodules
MOTTLE_DB = (0.3, 5.0)  # standard deviation of the clustering, without fibrosis and at severity 1
SEPTUM_DB, NODULE_DB = 8.5, -3.5  # of septa and of the nodules that they enclose, at severity 1
SEPTUM_WIDTH = 0.35  # in standard deviations of the nodular field
ECHO_DB = 3.0  # general brightening by collagen, at severity 1
CAPSULE_MM = 2.2  # standard deviation of a nodular surface, at severity 1
CAPSULE_SCALE_MM = 4.0
CAPSULE_BAND_MM = 1.5  # on each side of the liver's surface, in the true masks
OTHER, LIVER, CAPSULE, LESION = range(1, 5)  # levels of the true masks; 0 is outside the sector
NARROWING = 0.5  # relative narrowing of the hepatic veins, at severity 1


@dataclass
class Tissue:
    """Acoustic properties of one view, and what is where, `(SAMPLES, LINES)` each."""

    scatter_db: Array  # backscattered power relative to healthy liver [dB]
    reflection: Array  # amplitude of smooth interfaces relative to the speckle of healthy liver
    attenuation: Array  # [dB/cm/MHz]
    patchiness: Array  # factor on the brightness of interfaces, which is never even
    structure: NDArray[np.uint8]  # one of `OTHER`, `LIVER` (with its vessels), `CAPSULE`, `LESION`

    def replace(
        self,
        where: NDArray[np.bool_],
        scatter_db: Array | float,
        attenuation: float,
        structure: int | None = None,
    ) -> None:
        """Put another tissue where the mask is true; without a `structure`, it is part of what is there."""
        if structure is not None:
            np.copyto(self.structure, np.uint8(structure), where=where)
        np.copyto(self.scatter_db, scatter_db, where=where)
        np.copyto(self.attenuation, attenuation, where=where)
        np.copyto(self.reflection, 0, where=where)

    def interface(
        self, distance: Array, grid: Grid, strength: float, width_mm: float, sharpness: float = 4
    ) -> None:
        """Add a mirror-like border at distance 0 [mm]: bright where the beam meets it at a right angle."""
        cosine = np.clip(np.abs(np.gradient(distance, grid.step_mm, axis=0)), 0, 1)
        line = np.exp(-0.5 * (distance / np.float32(width_mm)) ** 2)
        self.reflection += np.float32(strength) * line * self.patchiness * cosine**sharpness


def tissue(grid: Grid, body: Body, rng: np.random.Generator) -> Tissue:
    """Draw one view of a body: the liver first, then structures in, behind and in front of it."""
    echo = body.liver_echo_db + parenchyma(grid, body.severity, rng)
    echo = echo + np.float32(1.8) * field(grid.x, grid.y, 18.0, rng)
    patchiness = np.exp(np.float32(0.6) * field(grid.x, grid.y, 6.0, rng))
    view = Tissue(
        echo,
        np.zeros_like(echo),
        np.full_like(echo, body.liver_attenuation),
        patchiness,
        np.full(echo.shape, LIVER, np.uint8),
    )
    _add_vessels(view, grid, body, rng)
    _add_gallbladder(view, grid, rng)
    _add_diaphragm(view, grid, rng)
    _add_wall(view, grid, body, rng)
    _add_ribs(view, grid, body, rng)
    return view


def _add_vessels(view: Tissue, grid: Grid, body: Body, rng: np.random.Generator) -> None:
    """Draw hepatic veins without visible walls, portal branches with bright walls, small cross-sections."""
    calibre = body.vessel_scale * vein_scale(body.severity)
    for _ in range(rng.integers(1, 3)):
        vein = _tube(grid, rng, radius_mm=calibre * rng.uniform(2.5, 4.5), length_mm=rng.uniform(30, 65))
        view.replace(vein < 0, BLOOD_DB, FLUID_ATTENUATION)
        view.interface(vein, grid, strength=1.2, width_mm=0.5)
    for _ in range(rng.integers(1, 3)):
        radius = body.vessel_scale * rng.uniform(1.8, 3.6)
        branch = _tube(grid, rng, radius_mm=radius, length_mm=rng.uniform(15, 45))
        view.scatter_db += 8 * np.exp(-np.maximum(branch, 0) / np.float32(1.2))
        view.replace(branch < 0, BLOOD_DB, FLUID_ATTENUATION)
        view.interface(branch - 0.6, grid, strength=4.0, width_mm=0.6, sharpness=2)
    for _ in range(rng.integers(1, 5)):
        section = _tube(grid, rng, radius_mm=rng.uniform(1.2, 2.2), length_mm=rng.uniform(1, 8))
        view.replace(section < 0, BLOOD_DB, FLUID_ATTENUATION)


def _tube(grid: Grid, rng: np.random.Generator, radius_mm: float, length_mm: float) -> Array:
    """Draw a bent tube in the liver that narrows to a third; return the signed distance to it [mm]."""
    pieces = 1 + int(length_mm / PIECE_MM)
    row, column = rng.uniform(0.3, 0.75) * grid.x.shape[0], rng.uniform(0.15, 0.85) * grid.x.shape[1]
    start = np.array([grid.x[int(row), int(column)], grid.y[int(row), int(column)]])
    heading = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.3) * np.arange(pieces)
    steps = length_mm / pieces * np.stack([np.cos(heading), 0.7 * np.sin(heading)], axis=1)
    points = start + np.cumsum(np.vstack([np.zeros(2), steps]), axis=0)
    radii = radius_mm * np.linspace(1, 1 / 3, pieces + 1)
    ends = zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True)
    return np.minimum.reduce([_piece(grid, *end) for end in ends])


def _piece(grid: Grid, start: np.ndarray, end: np.ndarray, radius: float, end_radius: float) -> Array:
    """Return the signed distance [mm] to a straight piece of a tube."""
    (x0, y0), (dx, dy) = start.astype(np.float32), (end - start).astype(np.float32)
    x, y = grid.x - x0, grid.y - y0
    along = np.clip((x * dx + y * dy) / (dx * dx + dy * dy), 0, 1)
    x, y = x - along * dx, y - along * dy
    return np.sqrt(x * x + y * y) - np.float32(radius) - along * np.float32(end_radius - radius)


def _add_gallbladder(view: Tissue, grid: Grid, rng: np.random.Generator) -> None:
    """Draw the gallbladder in one view of five: pear-shaped fluid with a thin wall."""
    shown = rng.random() < 0.2
    long, short, tilt = rng.uniform(16, 26), rng.uniform(7, 11), rng.uniform(-1, 1)
    row = int(rng.uniform(0.45, 0.65) * grid.x.shape[0])
    column = int(rng.choice([0.25, 0.75]) * grid.x.shape[1])
    if not shown:
        return
    x, y = grid.x - grid.x[row, column], grid.y - grid.y[row, column]
    u, v = x * np.cos(tilt) + y * np.sin(tilt), y * np.cos(tilt) - x * np.sin(tilt)
    distance = ((np.hypot(u / long, v / short) - 1) * short).astype(np.float32)
    view.replace(distance < 0, BLOOD_DB, FLUID_ATTENUATION, OTHER)
    view.interface(distance - 0.8, grid, strength=5.0, width_mm=0.7, sharpness=2)


def _add_diaphragm(view: Tissue, grid: Grid, rng: np.random.Generator) -> None:
    """Draw the diaphragm, bright where it faces the probe, and the lung behind it, darker with depth."""
    radius = rng.uniform(90, 150)
    centre_x = rng.choice([-1, 1]) * rng.uniform(5, 48)
    centre_y = grid.depth.max() * rng.uniform(0.76, 1.2) - radius
    inside = np.float32(radius) - np.hypot(grid.x - np.float32(centre_x), grid.y - np.float32(centre_y))
    inside = inside + np.float32(1.5) * field(grid.x, grid.y, 12.0, rng)
    view.replace(inside < 0, LUNG_DB + LUNG_FADING_DB_MM * inside, FAT_ATTENUATION, OTHER)
    view.interface(inside, grid, strength=11.0, width_mm=0.9, sharpness=10)


def _add_wall(view: Tissue, grid: Grid, body: Body, rng: np.random.Generator) -> None:
    """Draw skin, fat and muscle as shells around the probe, and the liver's capsule behind them."""
    arc = grid.arc[:1] * 1.4  # position along a shell at a depth of a few centimetres
    flat = np.zeros_like(arc)
    fat_end = SKIN_MM + body.fat_mm + 1.5 * field(arc, flat, 15.0, rng)
    muscle_end = fat_end + body.muscle_mm + 1.0 * field(arc, flat, 15.0, rng)
    muscle_end = muscle_end + rng.normal(0, 0.04) * arc + capsule(arc, body.severity, rng)
    strands = 6 * field(grid.arc / 14, grid.depth, 0.7, rng)
    before = grid.depth < muscle_end
    view.replace(before, MUSCLE_DB + strands, MUSCLE_ATTENUATION, OTHER)
    surface = (np.abs(grid.depth - muscle_end) < CAPSULE_BAND_MM) & (grid.depth > fat_end)
    np.copyto(view.structure, np.uint8(CAPSULE), where=surface)
    view.replace(grid.depth < fat_end, FAT_DB + strands, FAT_ATTENUATION)
    view.replace(grid.depth < SKIN_MM, SKIN_DB, FAT_ATTENUATION)
    view.interface(grid.depth - SKIN_MM, grid, strength=3.0, width_mm=0.5)
    view.interface(grid.depth - fat_end, grid, strength=4.0, width_mm=0.5)
    view.interface(grid.depth - muscle_end, grid, strength=6.0, width_mm=0.6)


def _add_ribs(view: Tissue, grid: Grid, body: Body, rng: np.random.Generator) -> None:
    """Draw a rib's shadow, or an edge of the probe without contact, in some views."""
    rib, lifted = rng.random() < 0.25, rng.random() < 0.5
    half = float(grid.arc[0].max())
    beam = grid.arc[:1]
    place, width = rng.choice([-1, 1]) * rng.uniform(0.5, 0.9) * half, rng.uniform(1.5, 3.0)
    edge, extent = rng.choice([-1, 1]) * half, rng.uniform(0.15, 0.5) * half
    start = SKIN_MM + body.fat_mm
    shade = np.exp(-0.5 * ((beam - place) / width) ** 2) * (rib * RIB_ATTENUATION)
    loss = np.exp(-0.5 * ((beam - edge) / extent) ** 2) * (lifted * AIR_ATTENUATION)
    in_rib = (grid.depth > start) & (grid.depth < start + RIB_MM)
    view.attenuation += in_rib * shade.astype(np.float32)
    view.attenuation += (grid.depth < SKIN_MM) * loss.astype(np.float32)


def parenchyma(grid: Grid, severity: float, rng: np.random.Generator) -> Array:
    """Draw the backscatter relative to homogeneous healthy liver [dB], `(SAMPLES, LINES)`.

    Clustered scatterers modulate the local power, so the distribution of the envelope changes from Rayleigh
    towards the K distribution (Jakeman and Tough 1987, J. Opt. Soc. Am. A 4, 1764-1772). Septa are the zero
    lines of a second field: a mesh of bright strands around darker nodules, as in the histology of F3 and F4.
    """
    mottle = field(grid.x, grid.y, MOTTLE_MM, rng)
    nodules = field(grid.x, grid.y, NODULE_MM, rng)
    weakest, strongest = MOTTLE_DB
    septa = np.exp(-0.5 * (nodules / np.float32(SEPTUM_WIDTH)) ** 2)
    mesh = NODULE_DB + (SEPTUM_DB - NODULE_DB) * septa
    spread = weakest + (strongest - weakest) * severity
    return spread * mottle + severity * (mesh + ECHO_DB)


def capsule(arc_mm: Array, severity: float, rng: np.random.Generator) -> Array:
    """Draw the nodularity of the liver's surface [mm] along it, `(1, LINES)`; 0 without fibrosis."""
    return CAPSULE_MM * severity**1.5 * field(arc_mm, np.zeros_like(arc_mm), CAPSULE_SCALE_MM, rng)


def vein_scale(severity: float) -> float:
    """Return the calibre of the hepatic veins relative to healthy ones."""
    return 1 - NARROWING * severity
