"""Bootstrap confidence intervals over groups: the images of one patient are not independent units."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from fibrolab.errors import ConfigError
from fibrolab.evaluation import endpoints as end_points
from fibrolab.evaluation.measures.metrics import evaluate
from fibrolab.evaluation.measures.weighted import Weights

COLUMNS = ("value", "mean", "sd", "low", "high", "bca_low", "bca_high", "n_valid")
BLOCK = 2**21  # weights held at once (16 MiB): memory does not grow with samples x resamples
# An interval needs its metric defined in nine of ten resamples. A class held by one group is absent from
# 37 % of them, by two from 14 %, by three from 5 %: with one or two the uncertainty cannot be estimated.
DEFINED = 0.9
BLOCKS = 200  # of groups left out in turn: more would change the acceleration by less than .002

# R values a metric, of weights (R, N); None: R = 1.
Measure = Callable[[Weights | None], dict[str, np.ndarray]]


def intervals(
    y_true: np.ndarray,
    probabilities: np.ndarray,
    groups: Sequence[str] | np.ndarray,
    classes: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    ordered: bool = True,
    endpoints: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """Compute every metric of a classifier with its bootstrap intervals.

    See `resampled`; `by_metric` chooses the interval that is reported of each metric.

    Args:
        y_true: Class indices (N,).
        probabilities: One column a class (N, K).
        groups: Independent unit of each sample: the patient, or the cluster of copies (N,).
        classes: The K class names.
        resamples: Number of resamples, at least 2.
        seed: Seed of the resamples: two models scored on the same samples with one seed see the same ones.
        level: Nominal coverage, such as 0.95.
        ordered: As for `evaluate`.
        endpoints: As for `endpoints.evaluate`.

    Returns:
        As of `resampled`.

    Raises:
        ConfigError: resamples or level out of range.
    """

    def measure(weights: Weights | None) -> dict[str, np.ndarray]:
        by_class = evaluate(y_true, probabilities, classes, weights, ordered)
        return by_class | end_points.evaluate(y_true, probabilities, endpoints or {}, weights)

    return resampled(measure, groups, resamples, seed, level)


def resampled(
    measure: Measure,
    groups: Sequence[str] | np.ndarray,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compute the bootstrap intervals of any measure of weighted samples.

    Percentile interval: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; BCa
    interval, corrected for bias and acceleration: Efron, J Am Stat Assoc 82:171-185, 1987. Whole groups drawn
    with replacement: Field and Welsh, J R Stat Soc B 69:369-390, 2007. All of them need many groups; below
    about thirty the intervals are too narrow. Where every resample agrees (no error at all among n groups)
    they have no width, although the error rate may be as large as about 3 / n.

    Args:
        measure: Returns R values a metric for weights (R, N), and one value each for None.
        groups: Independent unit of each sample: the patient, or the cluster of copies (N,).
        resamples: Number of resamples, at least 2.
        seed: Seed of the resamples: two models scored on the same samples with one seed see the same ones.
        level: Nominal coverage, such as 0.95.

    Returns:
        A row a metric (index `metric`): value on the data; mean, sd, low and high (percentiles) over
        the n_valid resamples that define the metric, and the BCa interval. All but the value are NaN where
        fewer than nine tenths do, and where there is one group only, of which every resample is the data.

    Raises:
        ConfigError: resamples or level out of range.
    """
    check(resamples, level)
    values = measure(None)
    if len(set(groups)) > 1:
        blocks = [measure(weights) for weights in resample_weights(groups, resamples, seed)]
        left_out = [measure(weights) for weights in leave_out(groups)]
    else:
        blocks = left_out = [{name: np.full(resamples, np.nan) for name in values}]
    rows = {}
    for name, value in values.items():
        draws, jackknife = (np.concatenate([block[name] for block in each]) for each in (blocks, left_out))
        rows[name] = summary(value[0], draws, jackknife, level)
    return pd.DataFrame.from_dict(rows, orient="index")[list(COLUMNS)].rename_axis("metric")


def summary(value: float, draws: np.ndarray, jackknife: np.ndarray, level: float) -> dict[str, float]:
    """Summarise the resamples of one metric as a row of `resampled`.

    Args:
        value: Value on the data.
        draws: Values in the resamples (R,).
        jackknife: Values without some groups, by `leave_out` (J,).
        level: Nominal coverage.
    """
    mean, sd, low, high, n_valid = _summary(draws, level)
    ends = _bca(value, draws, jackknife, level)
    return dict(zip(COLUMNS, (value, mean, sd, low, high, *ends, n_valid), strict=True))


def resample_weights(groups: Sequence[str] | np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each sample is drawn, in blocks (r, N) of float64 with `resamples` rows in all.

    Each row draws as many groups as there are, with replacement, and each sample as often as its group.
    The draws depend on the set of groups and the seed, not on the order of the rows or the block size.
    """
    names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    rng = np.random.default_rng(seed)
    rows = max(1, BLOCK // len(codes))
    for start in range(0, resamples, rows):
        counts = [
            np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
            for _ in range(min(rows, resamples - start))
        ]
        yield np.stack(counts).astype(np.float64)[:, codes]


def leave_out(groups: Sequence[str] | np.ndarray) -> Iterator[np.ndarray]:
    """Yield weights (r, N) that leave out each group in turn or, of more than `BLOCKS`, blocks of groups."""
    names, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    count = min(len(names), BLOCKS)
    # The order of names may be informative.
    block_of = np.random.default_rng(0).permutation(len(names)) % count
    rows = max(1, BLOCK // len(codes))
    for start in range(0, count, rows):
        blocks = np.arange(start, min(start + rows, count))
        yield (block_of[codes] != blocks[:, None]).astype(np.float64)


def _bca(value: float, draws: np.ndarray, jackknife: np.ndarray, level: float) -> tuple[float, float]:
    """Compute Efron's BCa interval (1987, equations 6.5 and 6.6); ties of draws with the value count half.

    The acceleration is the skewness of the groups' contributions. Blocks of groups have the same one, since
    the sums of second and third powers over blocks equal those over groups in expectation.
    """
    from scipy.special import ndtr, ndtri

    valid, left = (values[np.isfinite(values)] for values in (draws, jackknife))
    if not np.isfinite(value) or not enough(len(valid), len(draws)) or not len(left):
        return np.nan, np.nan
    below = ((valid < value).sum() + (valid == value).sum() / 2) / len(valid)
    away = left.mean() - left
    spread = (away**2).sum() ** 1.5
    if not 0 < below < 1 or spread == 0:
        return np.nan, np.nan
    bias, acceleration = ndtri(below), (away**3).sum() / (6 * spread)
    shifted = bias + ndtri([(1 - level) / 2, (1 + level) / 2])
    # Beyond 1 / acceleration the transformation is not monotonic.
    stretched = shifted / np.maximum(1 - acceleration * shifted, 1e-9)
    low, high = np.quantile(valid, ndtr(bias + stretched))
    return float(low), float(high)


def _summary(draws: np.ndarray, level: float) -> tuple[float, float, float, float, int]:
    """Compute mean, sd, low and high of the resamples that define the metric, and their number."""
    valid = draws[np.isfinite(draws)]
    if not enough(len(valid), len(draws)):
        return np.nan, np.nan, np.nan, np.nan, len(valid)
    low, high = percentiles(valid, level)
    return float(valid.mean()), float(valid.std(ddof=1)), float(low), float(high), len(valid)


def enough(defined: int, drawn: int) -> bool:
    """Return whether enough resamples define a metric for an interval."""
    return defined >= max(2.0, DEFINED * drawn)


def percentiles(draws: np.ndarray, level: float) -> np.ndarray:
    """Compute low and high of the percentile interval of draws (R, ...), float64 (2, ...)."""
    return np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)


def check(resamples: int, level: float) -> None:
    """Refuse a number of resamples or a level that gives no interval.

    Raises:
        ConfigError: resamples or level out of range.
    """
    faults = []
    if not isinstance(resamples, int) or resamples < 2:
        faults.append(f"bootstrap.resamples={resamples}; give a whole number from 2, 1000 for a report")
    if not 0 < level < 1:
        faults.append(f"bootstrap.level={level}; give a proportion between 0 and 1, such as 0.95")
    if faults:
        raise ConfigError(f"The bootstrap cannot run: {'; '.join(faults)}.")
