"""Effects of fibrosis by its severity in (0, 1): parenchyma, capsule, hepatic veins.

The signs are those that readers grade: coarse parenchyma, nodular surface, narrow veins (Choong et al. 2012,
J. Clin. Imaging Sci. 2, 58; Berzigotti et al. 2010, J. Hepatol. 52, 846-853). Their sizes are our choice.
"""

import numpy as np

from fibrolab.phantom.beam import Array, Grid
from fibrolab.phantom.texture import field

MOTTLE_MM, NODULE_MM = 1.3, 3.0  # scales of clustered scatterers and of regenerative nodules
MOTTLE_DB = (0.3, 5.0)  # standard deviation of the clustering, from no fibrosis to the strongest
SEPTUM_DB, NODULE_DB = 8.5, -3.5  # of septa and of the nodules that they enclose, at the strongest
SEPTUM_WIDTH = 0.35  # of the nodular field's standard deviation
ECHO_DB = 3.0  # general brightening by collagen
CAPSULE_MM = 2.2  # standard deviation of a nodular surface
CAPSULE_SCALE_MM = 4.0
NARROWING = 0.5  # of the hepatic veins


def parenchyma(grid: Grid, severity: float, rng: np.random.Generator) -> Array:
    """Draw the change of backscatter against homogeneous healthy liver [dB], `(SAMPLES, LINES)`.

    Clustered scatterers modulate the local power, so the envelope's statistics move from Rayleigh towards the
    K distribution (Jakeman and Tough 1987, J. Opt. Soc. Am. A 4, 1764-1772). Septa are the zero lines of a
    second field: a mesh of bright strands around darker nodules, as in the histology of F3 and F4.
    """
    mottle = field(grid.x, grid.y, MOTTLE_MM, rng)
    nodules = field(grid.x, grid.y, NODULE_MM, rng)
    weakest, strongest = MOTTLE_DB
    septa = np.exp(-0.5 * (nodules / np.float32(SEPTUM_WIDTH)) ** 2)
    mesh = NODULE_DB + (SEPTUM_DB - NODULE_DB) * septa
    spread = weakest + (strongest - weakest) * severity
    return spread * mottle + severity * (mesh + ECHO_DB)


def capsule(arc_mm: Array, severity: float, rng: np.random.Generator) -> Array:
    """Draw bumps of the liver's surface [mm] at positions along it, `(1, LINES)`; none without fibrosis."""
    return CAPSULE_MM * severity**1.5 * field(arc_mm, np.zeros_like(arc_mm), CAPSULE_SCALE_MM, rng)


def vein_scale(severity: float) -> float:
    """Return the calibre of the hepatic veins relative to healthy ones."""
    return 1 - NARROWING * severity
