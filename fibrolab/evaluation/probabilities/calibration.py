"""Calibration: temperature scaling, reliability diagram, and the table of calibration measures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import endpoints as end_points
from fibrolab.evaluation import patients, predictions
from fibrolab.evaluation.intervals import by_metric, proportions
from fibrolab.evaluation.intervals.bootstrap import check, resampled
from fibrolab.evaluation.intervals.estimate import Estimate
from fibrolab.evaluation.measures import probability_quality
from fibrolab.evaluation.measures.weighted import Weights, ratio
from fibrolab.evaluation.probabilities.recalibration import recalibration

COLUMNS = ("level", "probabilities", "temperature", "measure", "value", "low", "high", "method", "note")
PREDICTED, SCALED = "as predicted", "temperature"
LOSSES = {"log_loss": probability_quality.log_losses, "brier": probability_quality.squared_errors}
BINS = 10
HOTTEST, COLDEST = 100.0, 0.01  # largest and smallest temperature
CHANCES = 100  # simulated errors of a calibrated run: their mean is accurate to a tenth of their SD
NO_VALIDATION = "no validation predictions to fit a temperature on"


def temperature(probabilities: np.ndarray, labels: np.ndarray) -> Estimate:
    """Fit the temperature that minimises the log loss of the labels.

    Guo, Pleiss, Sun and Weinberger, ICML 2017, section 4.2: softmax(z / T) at the maximum of the likelihood.
    The logarithms of the probabilities serve as logits z, from which they differ by a constant a row. The
    log loss is convex in 1 / T, so that its slope has one root. Clustering does not bias it.

    Args:
        probabilities: Probabilities of the validation rows, one column a class (N, K).
        labels: Class indices (N,).

    Returns:
        The temperature; above 1, the probabilities are overconfident. NaN with a reason where there are fewer
        than two classes of labels, or the optimum is outside 0.01 to 100.
    """
    from scipy.optimize import brentq
    from scipy.special import softmax

    labels = np.asarray(labels)
    if len(np.unique(labels)) < 2:
        return Estimate(
            math.nan, note="validation holds fewer than two classes: no temperature can be fitted"
        )
    logits = np.log(np.maximum(probabilities, probability_quality.LEAST))
    true = logits[np.arange(len(labels)), labels].mean()

    def slope(inverse: float) -> float:
        """Return the derivative of the mean log loss by 1 / T."""
        return float((softmax(inverse * logits, axis=1) * logits).sum(axis=1).mean() - true)

    if slope(1 / HOTTEST) >= 0:
        return Estimate(math.nan, note="on validation the probabilities are no better than chance")
    if slope(1 / COLDEST) <= 0:
        return Estimate(math.nan, note="validation has no misclassified row: no temperature is low enough")
    return Estimate(1.0 / float(brentq(slope, 1 / HOTTEST, 1 / COLDEST, xtol=1e-12)))


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Scale probabilities by a temperature, float64 (N, K); the order of the classes in a row is kept.

    Args:
        probabilities: One column a class (N, K).
        temperature: Above 0; 1 leaves them unchanged. A 0 counts as 2.2e-16, as in the log loss.
    """
    from scipy.special import softmax

    return softmax(np.log(np.maximum(probabilities, probability_quality.LEAST)) / temperature, axis=1)


@dataclass(frozen=True)
class Reliability:
    """Predicted probabilities and observed proportions by bin; there are no empty bins.

    Attributes:
        mean_confidence: Mean probability of the bin's rows (B,), increasing.
        proportion: Observed proportion of events (B,).
        low: Lower end of its Wilson interval, clustered where groups have several rows (B,).
        high: Upper end (B,).
        count: Number of rows in the bin (B,).
    """

    mean_confidence: np.ndarray
    proportion: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: np.ndarray


def reliability(
    confidence: np.ndarray,
    hit: np.ndarray,
    groups: Sequence[str] | np.ndarray | None = None,
    bins: int = BINS,
    level: float = 0.95,
) -> Reliability:
    """Compute a reliability diagram of the most probable class, or of an end point's score.

    Bins have equal numbers of rows rather than equal width, as for the `ece`: a network that is confident in
    most predictions would leave the lower bins nearly empty (Nixon et al., CVPR Workshops 2019). Equal
    confidences share a bin.

    Args:
        confidence: Predicted probability (N,).
        hit: Whether the event occurred, bool (N,): the prediction is correct, or the end point is present.
        groups: Independent unit of each row: patient or cluster (N,); by default the row itself.
        bins: Largest number of bins.
        level: Nominal coverage of the interval of each bin.
    """
    confidence, hit = np.asarray(confidence, dtype=np.float64), np.asarray(hit, dtype=bool)
    inner = np.unique(np.quantile(confidence, np.arange(1, bins) / bins, method="inverted_cdf"))
    _, codes = np.unique(np.searchsorted(inner, confidence), return_inverse=True)
    counts = np.bincount(codes)
    means = np.bincount(codes, weights=confidence) / counts
    found = [proportions.estimate(hit, codes == b, groups, level) for b in range(len(counts))]
    proportion, low, high = np.array([(e.value, e.low, e.high) for e in found]).T
    return Reliability(means, proportion, low, high, counts)


def table(
    frame: pd.DataFrame,
    classes: Sequence[str],
    endpoints: Mapping[str, int] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    levels: Sequence[str] = ("sample", "patient"),
) -> pd.DataFrame:
    """Return `calibration.csv`: calibration of the test rows' probabilities, as predicted and scaled.

    `log_loss` and `brier` (`probability_quality`) with bootstrap intervals over groups, `ece` with its
    expectation for a calibrated run, then `slope_NAME` and `intercept_NAME` of each end point
    (`recalibration`).
    The temperature is fitted on validation, in a cross-validation on that of each fold; the intervals do not
    include its uncertainty.

    Args:
        frame: Predictions as `predictions.read` returns them.
        classes: Names of the K classes.
        endpoints: Name and lowest positive class of each; of two classes it is always the second.
        resamples: Bootstrap resamples of the groups.
        seed: Seed of the resamples.
        level: Nominal coverage.
        levels: `sample`, `patient` (mean of a patient's probabilities, with its own temperature).

    Returns:
        The columns `COLUMNS`; `note` states why there is no number or no interval.

    Raises:
        DataError: No test rows.
        ConfigError: resamples or level out of range.
    """
    check(resamples, level)
    predicted = {classes[1]: 1} if len(classes) == 2 else dict(endpoints or {})
    rows = []
    for name in levels:
        pooled = frame if name == "sample" else patients.to_patients(frame)
        test = predictions.select(pooled, keys.TEST)
        chance = predictions.probabilities(test)
        fitted, at_temperature = on_validation(pooled, chance)
        found = {PREDICTED: _measured(test, predicted, chance, resamples, seed, level)}
        if math.isnan(fitted.value):
            found[SCALED] = dict.fromkeys(found[PREDICTED], fitted)  # with the same reason
        else:
            found[SCALED] = _measured(test, predicted, at_temperature, resamples, seed, level)
        for kind, heat in ((PREDICTED, 1.0), (SCALED, fitted.value)):
            rows += [
                (name, kind, heat, measure, e.value, e.low, e.high, e.method, e.note)
                for measure, e in found[kind].items()
            ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def on_validation(frame: pd.DataFrame, chance: np.ndarray) -> tuple[Estimate, np.ndarray]:
    """Scale the probabilities of the test rows by the temperature of validation, each fold by its own.

    Args:
        frame: Predictions of validation and test.
        chance: Probabilities of the test rows (N, K).

    Returns:
        The temperature, of several folds their geometric mean, NaN with a reason where a fold has none; and
        the scaled probabilities (N, K).
    """
    heats, cooled = [], chance.copy()
    for rows, validation in predictions.by_fold(frame):
        if validation.empty:
            return Estimate(math.nan, note=NO_VALIDATION), chance
        fitted = temperature(predictions.probabilities(validation), validation[keys.Y_TRUE].to_numpy())
        if math.isnan(fitted.value):
            return fitted, chance
        heats.append(fitted.value)
        cooled[rows] = scaled(chance[rows], fitted.value)
    return Estimate(float(np.exp(np.log(heats).mean())) if len(heats) > 1 else heats[0]), cooled


def _measured(
    test: pd.DataFrame,
    endpoints: Mapping[str, int],
    chance: np.ndarray,
    resamples: int,
    seed: int,
    level: float,
) -> dict[str, Estimate]:
    """Estimate every measure of the test rows from their probabilities (N, K)."""
    truth, groups = test[keys.Y_TRUE].to_numpy(), test[keys.GROUP_ID].to_numpy()
    found = _losses(truth, chance, groups, resamples, seed, level)
    found["ece"] = _ece(truth, chance, groups, seed)
    for name, lowest in endpoints.items():
        positive = end_points.labels(truth, lowest) == 1
        both = recalibration(end_points.score(chance, lowest), positive, groups, level)
        found |= dict(zip((f"slope_{name}", f"intercept_{name}"), both, strict=True))
    return found


def _losses(
    truth: np.ndarray, chance: np.ndarray, groups: np.ndarray, resamples: int, seed: int, level: float
) -> dict[str, Estimate]:
    """Estimate the mean losses, with the same intervals as `metrics.csv`."""
    losses = {name: loss(truth, chance) for name, loss in LOSSES.items()}

    def measure(weights: Weights | None) -> dict[str, np.ndarray]:
        weights = np.ones((1, len(truth))) if weights is None else weights
        return {name: ratio(weights @ each, weights.sum(axis=1)) for name, each in losses.items()}

    table = resampled(measure, groups, resamples, seed, level)
    one_group = len(set(groups)) == 1
    return {str(name): by_metric.resampled(row, one_group) for name, row in table.iterrows()}


def _ece(truth: np.ndarray, chance: np.ndarray, groups: np.ndarray, seed: int) -> Estimate:
    """Estimate the calibration error, with its mean for labels drawn from the probabilities themselves.

    No interval: the error is of absolute values, so that resampling adds the same bias as sampling did. With
    200 calibrated samples in 5 classes no percentile interval covered the truth, and fewer than half of the
    reversed or BCa ones. Labels drawn from the probabilities (consistency resampling: Bröcker and Smith,
    Weather and Forecasting 22:651-661, 2007) give the error by chance alone; one draw a group, whose rows
    have the same truth.
    """
    value = float(probability_quality.expected_calibration_error(truth, chance)[0])
    codes, names = pd.factorize(groups)
    rising, rng = chance.cumsum(axis=1), np.random.default_rng(seed)
    rising /= rising[:, -1:]
    errors = []
    for _ in range(CHANCES):
        drawn = (rising < rng.random(len(names))[codes, None]).sum(axis=1)
        errors.append(probability_quality.expected_calibration_error(drawn, chance)[0])
    note = f"a calibrated run shows {np.mean(errors):.3f} on such a test set by chance; no interval is sound"
    return Estimate(value, note=note)
