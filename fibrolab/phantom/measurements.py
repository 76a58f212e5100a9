"""Measurements of a patient besides images: liver stiffness and serum values."""

from dataclasses import dataclass

import numpy as np

# Medians by stage at separability 1: 4.9, 5.8, 7.5, 10.4 and 16.5 kPa. The limits between them are near the
# cut-offs of two-dimensional shear-wave elastography, 7.1 kPa for F2, 9.2 for F3 and 13.0 for F4 (Herrmann et
# al. 2018, Hepatology 67, 260-272; not checked against the full text).
SOFTEST_LOG_KPA, STIFFENING, ACCELERATION = 1.095, 0.915, 0.45
STIFFEST_KPA = 75.0
LSM_ERROR = 0.06  # relative SD of a patient's mean of five readings
AST_ULN_U_L = 40  # upper limit of normal


@dataclass(frozen=True)
class Blood:
    """Serum values as a laboratory prints them."""

    ast_u_l: int
    alt_u_l: int
    platelets_1e9_l: int


def kilopascals(score: float) -> float:
    """Return the median stiffness [kPa] of a liver with that stiffness score; strictly increasing.

    Its logarithm is a constant plus an exponential of the score, since stiffness increases more between later
    stages.
    """
    return float(np.exp(SOFTEST_LOG_KPA + STIFFENING * np.exp(ACCELERATION * score)))


def lsm(score: float, rng: np.random.Generator) -> float:
    """Draw a liver stiffness measurement [kPa], rounded to a tenth."""
    reading = kilopascals(score) * np.exp(rng.normal(0, LSM_ERROR))
    return round(min(float(reading), STIFFEST_KPA), 1)


def blood(score: float, rng: np.random.Generator) -> Blood:
    """Draw serum values that depend weakly on the serum score.

    As fibrosis progresses, AST increases, more than ALT, and platelets decrease; FIB-4 (Sterling et al. 2006,
    Hepatology 43, 1317-1325) and APRI (Wai et al. 2003, Hepatology 38, 518-526) are based on this. Both
    enzymes have a common component, the current inflammation. The sizes are our choice: FIB-4 separates F4
    from the other stages with an area under the curve of about 0.78 at separability 1.
    """
    inflammation, ast, alt, platelets = rng.standard_normal(4)
    log_ast = 3.45 + 0.22 * score + 0.35 * inflammation + 0.12 * ast
    log_alt = 3.55 + 0.08 * score + 0.45 * inflammation + 0.20 * alt
    return Blood(
        ast_u_l=round(float(np.clip(np.exp(log_ast), 8, 900))),
        alt_u_l=round(float(np.clip(np.exp(log_alt), 6, 1200))),
        platelets_1e9_l=round(float(np.clip(215 - 38 * score + 35 * platelets, 25, 480))),
    )
