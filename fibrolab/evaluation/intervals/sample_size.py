"""Sample size: independent patients that a study needs for an AUC, a proportion, or a difference of two.

Every function returns a number of patients as a fraction, which the caller rounds up. Tests are two-sided.

The variance of an AUC is that of DeLong's estimate, which fibrolab reports, for normal scores of equal
variance in both classes. Hanley and McNeil (Radiology 143:29-36, 1982) assume exponential scores: as many
patients at an AUC of 0.7, 7 % more at 0.85, 31 % more at 0.95. Obuchowski (Stat Methods Med Res 7:371-392,
1998) assumes a curve fitted to ratings, which fibrolab does not fit: 39 and 66 % more. Neither gives the
covariance of two arms without a table (Hanley and McNeil, Radiology 148:839-843, 1983); here it is the same
integral.
"""

import math
from typing import Final, NamedTuple

import numpy as np

NODES = 80  # of the Gauss-Hermite rule: an AUC of 0.99 to ten digits
LEAST_DISCORDANT = 5  # patients on whom only one arm is correct, from which their proportion is estimated
CAVEAT: Final = (
    "This plans a next study under the assumption that the true difference is the observed one. It is no "
    "evidence about this study: a power computed from the result adds nothing to its p value (Hoenig and "
    "Heisey, Am Stat 55:19-24, 2001)."
)


class Needed(NamedTuple):
    """Number of patients, or NaN with the reason.

    Attributes:
        patients: Independent patients, rounded up.
        note: `CAVEAT`, or why there is no number.
    """

    patients: float
    note: str


def auc_component(first: float, second: float, correlation: float = 1.0) -> float:
    """Compute the covariance of the placement values of a patient in two arms; of one arm the variance.

    A placement value is the proportion of the other class that a patient outranks. With normal scores of
    equal variance it is the normal distribution function of the score, so that its mean is the AUC and the
    covariance is
    Phi2(h1, h2; r / 2) - AUC1 AUC2, with h = Phi^-1(AUC) and Phi2 the bivariate normal distribution
    function. Divided by the numbers of positives and of negatives and summed, it is the expectation of
    DeLong's variance (Biometrics 44:837-845, 1988, equation 5).

    Args:
        first: AUC of one arm, between 0 and 1.
        second: AUC of the other.
        correlation: Correlation of the two arms' scores within a class, 0 to 1.
    """
    from scipy.special import ndtr, ndtri

    points, weights = np.polynomial.hermite_e.hermegauss(NODES)
    shared = correlation / 2  # correlation of two scores, each less a score of the other class
    above = [
        ndtr((ndtri(area) + math.sqrt(shared) * points) / math.sqrt(1 - shared)) for area in (first, second)
    ]
    both = float((weights * above[0] * above[1]).sum() / weights.sum())
    return both - first * second


def auc_within(area: float, half_width: float, prevalence: float, level: float = 0.95) -> float:
    """Compute the patients for a logit interval of an AUC with a given width.

    Args:
        area: Expected AUC.
        half_width: Half the length of the interval, below 0.5.
        prevalence: Proportion of positives.
        level: Coverage of the interval.
    """
    from scipy.optimize import brentq

    q = area * (1 - area)

    def half(reach: float) -> float:  # half width of an interval with this margin on the logit scale
        return q * math.sinh(reach) / (area**2 + (1 - area) ** 2 + 2 * q * math.cosh(reach))

    reach = brentq(lambda r: half(r) - half_width, 0.0, 50.0)
    return (_z(1 - level) / reach) ** 2 * _auc_variance(area, prevalence) / q**2


def auc_above(
    area: float, against: float, prevalence: float, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Compute the patients for the logit interval of an AUC to exclude a fixed value.

    Obuchowski 1998, with the variance at either value; in simulations the interval did so slightly more often
    than planned (in 80 to 84 % of studies planned for 80 %).

    Args:
        area: Expected AUC.
        against: A known value, such as 0.5; not one that was measured on as few patients.
        prevalence: Proportion of positives.
        power: Probability of success.
        alpha: Two-sided level of the test, 1 - coverage of the interval.
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
    """Compute the patients for DeLong's test to detect a difference of two AUCs; of unpaired arms, in each.

    Args:
        first: AUC of one arm.
        second: AUC of the other, not equal.
        prevalence: Proportion of positives.
        correlation: Correlation of the two arms' scores within a class, on the same patients; None for two
            cohorts.
        power: Probability of p < alpha.
        alpha: Two-sided level.
    """
    shared = 0.0 if correlation is None else auc_component(first, second, correlation)
    spread = auc_component(first, first) + auc_component(second, second) - 2 * shared
    variance = spread * (1 / prevalence + 1 / (1 - prevalence))
    return (_z(alpha) + _z_power(power)) ** 2 * variance / (first - second) ** 2


def proportion_within(proportion: float, half_width: float, level: float = 0.95) -> float:
    """Compute the patients for a Wilson interval of a proportion with a given width.

    Args:
        proportion: Expected proportion, 0 to 1.
        half_width: Half the length of the interval, below 0.5.
        level: Coverage of the interval.
    """
    spread, h2 = proportion * (1 - proportion), half_width**2
    b = spread - 2 * h2
    a = 0.25 - h2
    ratio = (math.sqrt(b * b + 4 * a * h2) - b) / (2 * a)  # z^2 / n
    return _z(1 - level) ** 2 / ratio


def proportion_above(proportion: float, against: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Compute the patients for the Wilson interval of a proportion to exclude a fixed value (score test).

    Fleiss, Levin and Paik, Statistical Methods for Rates and Proportions, 3rd ed. 2003, section 2.5.

    Args:
        proportion: Expected proportion.
        against: A known value, such as the proportion of the most frequent class.
        power: Probability of success.
        alpha: Two-sided level.
    """
    root = _z(alpha) * math.sqrt(against * (1 - against)) + _z_power(power) * math.sqrt(
        proportion * (1 - proportion)
    )
    return (root / (proportion - against)) ** 2


def two_proportions(
    first: float, second: float, discordant: float, power: float = 0.8, alpha: float = 0.05
) -> float:
    """Compute the patients for McNemar's test to detect a difference of two arms on the same patients.

    Connor, Biometrics 43:207-211, 1987.

    Args:
        first: Accuracy or sensitivity of one arm.
        second: Accuracy or sensitivity of the other, not equal.
        discordant: Proportion of the patients on whom only one arm is correct; see `discordant_proportion`.
        power: Probability of p < alpha.
        alpha: Two-sided level.
    """
    gap = first - second
    rest = max(0.0, discordant - gap**2)
    return ((_z(alpha) * math.sqrt(discordant) + _z_power(power) * math.sqrt(rest)) / gap) ** 2


def discordant_proportion(first: float, second: float, correlation: float) -> float:
    """Compute the proportion of patients on whom only one arm is correct, from the phi correlation."""
    spread = math.sqrt(first * (1 - first) * second * (1 - second))
    return first + second - 2 * (first * second + correlation * spread)


def discordant_limits(first: float, second: float) -> tuple[float, float]:
    """Return the least and the largest possible proportion of patients on whom only one arm is correct."""
    return abs(first - second), min(first + second, 2 - first - second)


def two_unpaired_proportions(first: float, second: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Compute the patients in each of two cohorts for the test of two proportions (Fleiss, equation 4.14)."""
    pooled = (first + second) / 2
    apart = first * (1 - first) + second * (1 - second)
    root = _z(alpha) * math.sqrt(2 * pooled * (1 - pooled)) + _z_power(power) * math.sqrt(apart)
    return (root / (first - second)) ** 2


def design_effect(rows: float, icc: float) -> float:
    """Compute the design effect: the factor of the variance by correlated rows of a patient (Kish, 1965).

    Args:
        rows: Rows a patient.
        icc: Intraclass correlation of a patient's rows, 0 to 1: of correctness for a proportion, of placement
            values for an AUC.
    """
    return 1 + (rows - 1) * icc


def needed_from(
    difference: float, variance: float, n: float, power: float = 0.8, alpha: float = 0.05
) -> Needed:
    """Compute the patients to detect a difference of two arms if the observed one is the true one.

    The variance of a difference shrinks as 1/n for every metric.

    Args:
        difference: Observed difference of the arms.
        variance: Variance of that difference: of two AUCs the variances less twice the covariance, of any
            metric the squared SD of its paired resamples.
        n: Independent patients (groups) that it was observed on.
        power: Probability of p < alpha.
        alpha: Two-sided level.
    """
    if not (math.isfinite(difference) and math.isfinite(variance) and variance >= 0 and n > 0):
        return Needed(math.nan, "the difference of the arms or its variance is not defined")
    if difference == 0:
        return Needed(math.nan, "the arms do not differ here: no number of patients can distinguish them")
    if variance == 0:
        return Needed(math.nan, "the variance of the difference is 0: too few patients to plan from")
    return Needed(math.ceil(n * (_z(alpha) + _z_power(power)) ** 2 * variance / difference**2), CAVEAT)


def needed_from_discordant(
    only_first: int, only_second: int, n: int, power: float = 0.8, alpha: float = 0.05
) -> Needed:
    """Compute the patients to detect a difference of two accuracies, from the observed discordant patients.

    Args:
        only_first: Patients on whom only the first arm was correct.
        only_second: Patients on whom only the second arm was correct.
        n: Patients that both arms predicted, one row each.
        power: Probability that McNemar's test gives p < alpha.
        alpha: Two-sided level.
    """
    if n <= 0:
        return Needed(math.nan, "no patient that both arms predicted")
    if only_first == only_second:
        return Needed(math.nan, "the arms do not differ here: no number of patients can distinguish them")
    discordant = only_first + only_second
    if discordant < LEAST_DISCORDANT:
        return Needed(
            math.nan, f"exactly one arm is correct on only {discordant} of {n} patients: too few to plan from"
        )
    return Needed(
        math.ceil(two_proportions(only_first / n, only_second / n, discordant / n, power, alpha)), CAVEAT
    )


def _auc_variance(area: float, prevalence: float) -> float:
    """Compute the variance of an AUC times the number of patients."""
    return auc_component(area, area) * (1 / prevalence + 1 / (1 - prevalence))


def _z(alpha: float) -> float:
    """Return the normal quantile that a two-sided test at this level must exceed."""
    from scipy.special import ndtri

    return float(-ndtri(alpha / 2))


def _z_power(power: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(power))
