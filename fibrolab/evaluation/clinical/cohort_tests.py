"""Tests of whether two groups of patients differ in a numeric or a categorical variable."""

import math
from typing import NamedTuple

import numpy as np

ALPHA = 0.05  # of the Shapiro-Wilk test
_LARGEST = 5000  # sample size up to which its p is known (Royston, Appl Stat 44:547-551, 1995)
_EXPECTED = 5  # expected patients a cell from which the chi-squared approximation is accurate
_DRAWS = 9999  # random tables where Fisher's test cannot enumerate all


class Difference(NamedTuple):
    """Result of a test of whether two groups of patients differ.

    Attributes:
        p: Two-sided; NaN where there is no test.
        name: Name of the test; empty where there is none.
        note: Why there is none; otherwise empty.
    """

    p: float
    name: str = ""
    note: str = ""


def roughly_normal(first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether Shapiro and Wilk's test rejects normality in neither group at a level of .05.

    Biometrika 52:591-611, 1965. Of more than 5,000 values, every second, third, ... is tested. A group of
    fewer than three values, or of equal values, counts as not normal.

    Args:
        first: Finite values (N,).
        second: Finite values (M,).
    """
    from scipy.stats import shapiro

    for values in (first, second):
        tested = values[:: math.ceil(len(values) / _LARGEST) or 1]
        if len(tested) < 3 or np.ptp(tested) == 0 or shapiro(tested).pvalue < ALPHA:
            return False
    return True


def of_numbers(first: np.ndarray, second: np.ndarray, normal: bool) -> Difference:
    """Compare numbers by Welch's t test or by Mann and Whitney's.

    Welch, Biometrika 34:28-35, 1947; Mann and Whitney, Ann Math Stat 18:50-60, 1947.

    Args:
        first: Finite values of one group (N,).
        second: Finite values of the other (M,).
        normal: Whether both are roughly normal; then Welch's test is used, otherwise ranks.
    """
    from scipy.stats import mannwhitneyu, ttest_ind

    if min(len(first), len(second)) < 2:
        return Difference(math.nan, note="no test: fewer than two values in training or test")
    if np.ptp(np.concatenate([first, second])) == 0:
        return Difference(math.nan, note="no test: every value is the same")
    if normal:
        return Difference(float(ttest_ind(first, second, equal_var=False).pvalue), "Welch's t test")
    return Difference(float(mannwhitneyu(first, second).pvalue), "Mann-Whitney")


def of_counts(counts: np.ndarray) -> Difference:
    """Compare counts by Pearson's chi-squared test or, where expected counts are small, Fisher's exact test.

    Cochran's rule (Biometrics 10:417-451, 1954): in a 2 x 2 table no expected count may be below 5; in a
    larger one none below 1 and at most a fifth below 5. Without Yates's correction. Beyond 2 x 2, Fisher's p
    is estimated from 9,999 random tables with the same margins and a fixed seed.

    Args:
        counts: Patients by value and group, whole numbers (V, 2).
    """
    from scipy.stats import MonteCarloMethod, chi2_contingency, fisher_exact
    from scipy.stats.contingency import expected_freq

    counts = counts[counts.sum(axis=1) > 0]
    if (counts.sum(axis=0) == 0).any() or not len(counts):
        return Difference(math.nan, note="no test: no value in training or test")
    if len(counts) < 2:
        return Difference(math.nan, note="no test: every value is the same")
    expected, small = expected_freq(counts), counts.size == 4
    rare = float((expected < _EXPECTED).mean())
    if rare == 0 or (not small and rare <= 0.2 and expected.min() >= 1):
        return Difference(float(chi2_contingency(counts, correction=False).pvalue), "chi-squared")
    if small:
        return Difference(float(fisher_exact(counts).pvalue), "Fisher's exact test")
    drawn = MonteCarloMethod(n_resamples=_DRAWS, rng=np.random.default_rng(0))
    p = np.squeeze(fisher_exact(counts, method=drawn).pvalue)  # scipy 1.17 gives some p as an array of one
    return Difference(float(p), "Fisher's exact test, by simulation")
