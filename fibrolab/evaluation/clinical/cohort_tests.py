"""Whether two groups of patients differ in a number or in counts, by the test that the data allows."""

import math
from typing import NamedTuple

import numpy as np

ALPHA = 0.05  # of the Shapiro-Wilk test
_LARGEST = 5000  # sample that its p is known for (Royston, Appl Stat 44:547-551, 1995)
_EXPECTED = 5  # patients a cell, from which the chi-squared distribution is near enough
_DRAWS = 9999  # tables drawn where Fisher's test cannot go through all of them


class Difference(NamedTuple):
    """A test of whether two groups of patients differ.

    Attributes:
        p: Two-sided; NaN where there is no test.
        name: Of the test; empty where there is none.
        note: Why there is none.
    """

    p: float
    name: str = ""
    note: str = ""


def roughly_normal(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether Shapiro and Wilk's test objects to neither group at the level of .05.

    Biometrika 52:591-611, 1965. Of more than 5,000 values every second, third, ... is tested. A group of
    fewer than three values, or of one value throughout, counts as not normal.

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
    """Welch's t test (Biometrika 34:28-35, 1947), or Mann and Whitney's (Ann Math Stat 18:50-60, 1947).

    Args:
        first: Finite values of one group (N,).
        second: Of the other (M,).
        normal: Whether both are roughly normal: then t, else ranks.
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
    """Pearson's chi-squared test where the expected counts allow it, else Fisher's exact test.

    Cochran's rule (Biometrics 10:417-451, 1954): of four cells none may expect fewer than 5; of more none
    fewer than 1, and a fifth of them at most fewer than 5. Without Yates's correction. Beyond four cells
    Fisher's p is estimated from 9,999 random tables with the same margins, always the same ones.

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
