"""How many independent patients a study needs, for an AUC or a share, and to tell two arms apart.

Every function returns a number of patients as a fraction, which the caller rounds up. Tests are two-sided.

The variance of an AUC is that of the estimate fibrolab makes (DeLong's), where the scores of both classes
are normal with one spread. Hanley and McNeil (Radiology 143:29-36, 1982) take exponential scores: as many
patients at an AUC of 0.7, 7 % more at 0.85, 31 % more at 0.95. Obuchowski (Stat Methods Med Res 7:371-392,
1998) takes a curve fitted to ratings, which fibrolab does not fit: 39 and 66 % more. Neither gives the
covariance of two arms without a table (Hanley and McNeil, Radiology 148:839-843, 1983); here it is the same
integral.
"""

import math
from typing import Final, NamedTuple

import numpy as np

NODES = 80  # of the Gauss-Hermite rule: an AUC of 0.99 to ten digits
LEAST_DISCORDANT = 5  # patients on whom one arm alone is right, from whom their share can be guessed
CAVEAT: Final = (
    "This plans the next study, should the true difference be the one seen here. It is no evidence on this "
    "study: a power computed from the result says nothing that its p value has not said (Hoenig and Heisey, "
    "Am Stat 55:19-24, 2001)."
)


class Needed(NamedTuple):
    """Patients, or NaN with the reason.

    Attributes:
        patients: Independent patients, rounded up.
        note: `CAVEAT`, or why there is no number.
    """

    patients: float
    note: str


def auc_component(first: float, second: float, correlation: float = 1.0) -> float:
    """Covariance of the placements of one patient in two arms; of one arm its variance.

    A placement is the share of the other class that a patient outranks. With normal scores of one spread it
    is the normal distribution function of the score, so that its mean is the AUC and the covariance is
    Phi2(h1, h2; r / 2) - AUC1 AUC2, with h = Phi^-1(AUC) and Phi2 the bivariate normal distribution
    function. Divided by the number of positives, and again by that of negatives, it adds up to DeLong's
    (Biometrics 44:837-845, 1988, equation 5) in the long run.

    Args:
        first: AUC of one arm, between 0 and 1.
        second: AUC of the other.
        correlation: Of the two arms' scores within a class, 0 to 1.
    """
    from scipy.special import ndtr, ndtri

    points, weights = np.polynomial.hermite_e.hermegauss(NODES)
    shared = correlation / 2  # the correlation of two scores of which both hold the other class's spread
    above = [
        ndtr((ndtri(area) + math.sqrt(shared) * points) / math.sqrt(1 - shared)) for area in (first, second)
    ]
    both = float((weights * above[0] * above[1]).sum() / weights.sum())
    return both - first * second


def auc_within(area: float, half_width: float, prevalence: float, level: float = 0.95) -> float:
    """Patients for an AUC whose logit interval is as wide as asked.

    Args:
        area: AUC expected.
        half_width: Half the length of the interval, below 0.5.
        prevalence: Share of positives.
        level: Coverage of the interval.
    """
    from scipy.optimize import brentq

    q = area * (1 - area)

    def half(reach: float) -> float:  # of the interval that reaches so far on the logit scale
        return q * math.sinh(reach) / (area**2 + (1 - area) ** 2 + 2 * q * math.cosh(reach))

    reach = brentq(lambda r: half(r) - half_width, 0.0, 50.0)
    return (_z(1 - level) / reach) ** 2 * _auc_variance(area, prevalence) / q**2


def auc_above(
    area: float, against: float, prevalence: float, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Patients for the logit interval of an AUC to leave out a fixed value.

    Obuchowski 1998, with the variance at either value; by simulation the interval does so a little more
    often than asked (in 80 to 84 % of studies planned for 80 %).

    Args:
        area: AUC expected.
        against: A value that is known, such as 0.5; not one that was measured on as few patients.
        prevalence: Share of positives.
        power: Chance of succeeding.
        alpha: Two-sided level of the test, 1 less the coverage of the interval.
    """
    root = _z(alpha) * math.sqrt(_auc_variance(against, prevalence))
    root += _z_power(power) * math.sqrt(_auc_variance(area, prevalence))
    return (root / (area - against)) ** 2


def two_aucs(
    first: float,
    second: float,
    prevalence: float,
    correlation: float | None = 0.5,
    power: float = 0.8,
    alpha: float = 0.05,
) -> float:
    """Patients for DeLong's test to tell two AUCs apart; of unpaired arms, patients in each.

    Args:
        first: AUC of one arm.
        second: AUC of the other, not the same.
        prevalence: Share of positives.
        correlation: Of the two arms' scores within a class, on the same patients; None for two cohorts.
        power: Chance of p < alpha.
        alpha: Two-sided level.
    """
    shared = 0.0 if correlation is None else auc_component(first, second, correlation)
    spread = auc_component(first, first) + auc_component(second, second) - 2 * shared
    variance = spread * (1 / prevalence + 1 / (1 - prevalence))
    return (_z(alpha) + _z_power(power)) ** 2 * variance / (first - second) ** 2


def share_within(share: float, half_width: float, level: float = 0.95) -> float:
    """Patients for a share whose Wilson interval is as wide as asked: its length solved for their number.

    Args:
        share: Share expected, 0 to 1.
        half_width: Half the length of the interval, below 0.5.
        level: Coverage of the interval.
    """
    spread, h2 = share * (1 - share), half_width**2
    b = spread - 2 * h2
    a = 0.25 - h2
    ratio = (math.sqrt(b * b + 4 * a * h2) - b) / (2 * a)  # z^2 / n
    return _z(1 - level) ** 2 / ratio


def share_above(share: float, against: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Patients for the Wilson interval of a share to leave out a fixed value: the score test's power.

    Fleiss, Levin and Paik, Statistical Methods for Rates and Proportions, 3rd ed. 2003, section 2.5.

    Args:
        share: Share expected.
        against: A value that is known, such as the share of the commonest class.
        power: Chance of succeeding.
        alpha: Two-sided level.
    """
    root = _z(alpha) * math.sqrt(against * (1 - against)) + _z_power(power) * math.sqrt(share * (1 - share))
    return (root / (share - against)) ** 2


def two_shares(
    first: float, second: float, discordant: float, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Patients for McNemar's test to tell two arms apart that answer the same patients.

    Connor, Biometrics 43:207-211, 1987.

    Args:
        first: Accuracy or sensitivity of one arm.
        second: Of the other, not the same.
        discordant: Share of the patients on whom one arm alone is right; see `discordant_share`.
        power: Chance of p < alpha.
        alpha: Two-sided level.
    """
    gap = first - second
    rest = max(0.0, discordant - gap**2)
    return ((_z(alpha) * math.sqrt(discordant) + _z_power(power) * math.sqrt(rest)) / gap) ** 2


def discordant_share(first: float, second: float, correlation: float) -> float:
    """Share of the patients on whom one arm alone is right, where being right correlates so (phi)."""
    spread = math.sqrt(first * (1 - first) * second * (1 - second))
    return first + second - 2 * (first * second + correlation * spread)


def discordant_limits(first: float, second: float) -> tuple[float, float]:
    """The least and the largest share of patients on whom one arm alone can be right."""
    return abs(first - second), min(first + second, 2 - first - second)


def two_unpaired_shares(first: float, second: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Patients in each of two cohorts, for the test of two independent shares (Fleiss, equation 4.14)."""
    pooled = (first + second) / 2
    apart = first * (1 - first) + second * (1 - second)
    root = _z(alpha) * math.sqrt(2 * pooled * (1 - pooled)) + _z_power(power) * math.sqrt(apart)
    return (root / (first - second)) ** 2


def design_effect(rows: float, icc: float) -> float:
    """How many times the variance grows where a patient has several rows that are alike (Kish, 1965).

    Args:
        rows: Rows a patient.
        icc: Correlation of a patient's rows, 0 to 1: of being right for a share, of placements for an AUC.
    """
    return 1 + (rows - 1) * icc


def needed_from(
    difference: float, variance: float, n: float, power: float = 0.8, alpha: float = 0.05
) -> Needed:
    """Patients that would have told two arms apart, were their true difference the one that was seen.

    The variance of a difference shrinks as 1/n, whatever the metric.

    Args:
        difference: Seen between the arms.
        variance: Of that difference: of two AUCs the variances less twice the covariance, of any metric the
            squared SD of its paired resamples.
        n: Independent patients (groups) that it was seen on.
        power: Chance of p < alpha.
        alpha: Two-sided level.
    """
    if not (math.isfinite(difference) and math.isfinite(variance) and variance >= 0 and n > 0):
        return Needed(math.nan, "the difference of the arms or its variance is not defined")
    if difference == 0:
        return Needed(math.nan, "the arms do not differ here: no number of patients tells them apart")
    if variance == 0:
        return Needed(math.nan, "the variance of the difference is 0: too few patients to plan from")
    return Needed(math.ceil(n * (_z(alpha) + _z_power(power)) ** 2 * variance / difference**2), CAVEAT)


def needed_from_discordant(
    only_first: int, only_second: int, n: int, power: float = 0.8, alpha: float = 0.05
) -> Needed:
    """Patients that would have told two accuracies apart, from those on whom one arm alone was right.

    Args:
        only_first: Patients on whom the first arm alone was right.
        only_second: And the second.
        n: Patients that both answered, one row each.
        power: Chance that McNemar's test gives p < alpha.
        alpha: Two-sided level.
    """
    if n <= 0:
        return Needed(math.nan, "no patient that both arms answered")
    if only_first == only_second:
        return Needed(math.nan, "the arms do not differ here: no number of patients tells them apart")
    discordant = only_first + only_second
    if discordant < LEAST_DISCORDANT:
        return Needed(math.nan, f"one arm alone is right on {discordant} of {n} only: too few to plan from")
    return Needed(
        math.ceil(two_shares(only_first / n, only_second / n, discordant / n, power, alpha)), CAVEAT
    )


def _auc_variance(area: float, prevalence: float) -> float:
    """Of an AUC, times the number of patients."""
    return auc_component(area, area) * (1 / prevalence + 1 / (1 - prevalence))


def _z(alpha: float) -> float:
    """Normal quantile that a two-sided test at this level must exceed."""
    from scipy.special import ndtri

    return float(-ndtri(alpha / 2))


def _z_power(power: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(power))
