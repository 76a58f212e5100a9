"""Whether a probability means what it says: temperature, reliability diagram, and the table of both."""

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
HOTTEST, COLDEST = 100.0, 0.01  # temperatures; beyond them the data asks for chance, or for certainty
CHANCES = 100  # draws of the error that a calibrated run would show: its mean is known to a tenth of its SD
NO_VALIDATION = "no validation predictions to fit a temperature on"


def temperature(probabilities: np.ndarray, labels: np.ndarray) -> Estimate:
    """Temperature under which the probabilities lose least against the labels.

    Guo, Pleiss, Sun and Weinberger, ICML 2017, section 4.2: softmax(z / T) at the maximum of the likelihood.
    The logarithms of the probabilities serve as logits z, from which they differ by a constant a row. The
    log loss is convex in 1 / T, so its slope has one root; groups do not move it but for chance.

    Args:
        probabilities: Of the validation rows, one column a class (N, K).
        labels: Class indices (N,).

    Returns:
        The temperature: above 1, the probabilities were too sure. NaN with a reason where the labels are of
        one class or none, or no temperature between 0.01 and 100 is best.
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
        """Of the mean log loss, by 1 / T."""
        return float((softmax(inverse * logits, axis=1) * logits).sum(axis=1).mean() - true)

    if slope(1 / HOTTEST) >= 0:
        return Estimate(math.nan, note="on validation the probabilities are worth no more than chance")
    if slope(1 / COLDEST) <= 0:
        return Estimate(math.nan, note="validation holds no error: no temperature is low enough")
    return Estimate(1.0 / float(brentq(slope, 1 / HOTTEST, 1 / COLDEST, xtol=1e-12)))


def scaled(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at another temperature, float64 (N, K); the order of a row's classes stays.

    Args:
        probabilities: One column a class (N, K).
        temperature: Above 0; 1 leaves them as they are. A 0 counts as 2.2e-16, as in the log loss.
    """
    from scipy.special import softmax

    return softmax(np.log(np.maximum(probabilities, probability_quality.LEAST)) / temperature, axis=1)


@dataclass(frozen=True)
class Reliability:
    """What was promised beside what was found, a bin of answers at a time; there are no empty bins.

    Attributes:
        mean_confidence: Mean probability of the bin's rows (B,), increasing.
        share: Share of them that came true (B,).
        low: Lower end of its Wilson interval, clustered where groups have several rows (B,).
        high: Upper end (B,).
        count: Rows in the bin (B,).
    """

    mean_confidence: np.ndarray
    share: np.ndarray
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
    """Reliability diagram: of the most probable class, or of an end point's score.

    Bins of equal numbers rather than of equal width, as for the `ece`: a network that is sure of most of its
    answers would leave the wide bins below nearly empty (Nixon et al., CVPR Workshops 2019). Equal
    confidences share a bin.

    Args:
        confidence: Probability of what was answered (N,).
        hit: Whether it came true, bool (N,): the answer was right, or the end point was reached.
        groups: What was sampled from the population (N,); each row its own by default.
        bins: At most so many.
        level: Coverage of the interval of each bin.
    """
    confidence, hit = np.asarray(confidence, dtype=np.float64), np.asarray(hit, dtype=bool)
    inner = np.unique(np.quantile(confidence, np.arange(1, bins) / bins, method="inverted_cdf"))
    _, codes = np.unique(np.searchsorted(inner, confidence), return_inverse=True)
    counts = np.bincount(codes)
    means = np.bincount(codes, weights=confidence) / counts
    found = [proportions.estimate(hit, codes == b, groups, level) for b in range(len(counts))]
    share, low, high = np.array([(e.value, e.low, e.high) for e in found]).T
    return Reliability(means, share, low, high, counts)


def table(
    frame: pd.DataFrame,
    classes: Sequence[str],
    endpoints: Mapping[str, int] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    levels: Sequence[str] = ("sample", "patient"),
) -> pd.DataFrame:
    """`calibration.csv`: how far the test rows' probabilities can be believed, as predicted and scaled.

    `log_loss` and `brier` (`probability_quality`) with bootstrap intervals over groups, `ece` with
    what chance alone makes of it, then `slope_NAME` and `intercept_NAME` of each end point (`recalibration`).
    The temperature is fitted on validation, and the intervals take it as given.

    Args:
        frame: Predictions as `predictions.read` gives them.
        classes: Names of the K classes.
        endpoints: Name and lowest positive class of each; of two classes it is always the second.
        resamples: Bootstrap resamples of the groups.
        seed: Of the resamples.
        level: Coverage aimed at.
        levels: `sample`, `patient` (the mean of a patient's probabilities, with a temperature of its own).

    Returns:
        The columns of `COLUMNS`; `note` says why there is no number or no interval.

    Raises:
        DataError: No test rows.
        ConfigError: resamples or level out of range.
    """
    check(resamples, level)
    answered = {classes[1]: 1} if len(classes) == 2 else dict(endpoints or {})
    rows = []
    for name in levels:
        pooled = frame if name == "sample" else patients.to_patients(frame)
        test, fitted = predictions.select(pooled, keys.TEST), _on_validation(pooled)
        found = {PREDICTED: _measured(test, answered, 1.0, resamples, seed, level)}
        if math.isnan(fitted.value):
            found[SCALED] = dict.fromkeys(found[PREDICTED], fitted)  # its reason is theirs
        else:
            found[SCALED] = _measured(test, answered, fitted.value, resamples, seed, level)
        for kind, heat in ((PREDICTED, 1.0), (SCALED, fitted.value)):
            rows += [
                (name, kind, heat, measure, e.value, e.low, e.high, e.method, e.note)
                for measure, e in found[kind].items()
            ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _on_validation(frame: pd.DataFrame) -> Estimate:
    validation = frame[frame[keys.PARTITION] == keys.VALIDATION]
    if validation.empty:
        return Estimate(math.nan, note=NO_VALIDATION)
    return temperature(predictions.probabilities(validation), validation[keys.Y_TRUE].to_numpy())


def _measured(
    test: pd.DataFrame, endpoints: Mapping[str, int], heat: float, resamples: int, seed: int, level: float
) -> dict[str, Estimate]:
    """Every measure of the test rows at a temperature."""
    truth, groups = test[keys.Y_TRUE].to_numpy(), test[keys.GROUP_ID].to_numpy()
    chance = predictions.probabilities(test)
    if heat != 1.0:
        chance = scaled(chance, heat)
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
    """Mean losses, with the intervals that `metrics.csv` has."""
    losses = {name: loss(truth, chance) for name, loss in LOSSES.items()}

    def measure(weights: Weights | None) -> dict[str, np.ndarray]:
        weights = np.ones((1, len(truth))) if weights is None else weights
        return {name: ratio(weights @ each, weights.sum(axis=1)) for name, each in losses.items()}

    drawn = resampled(measure, groups, resamples, seed, level)
    alone = len(set(groups)) == 1
    return {str(name): by_metric.resampled(row, alone) for name, row in drawn.iterrows()}


def _ece(truth: np.ndarray, chance: np.ndarray, groups: np.ndarray, seed: int) -> Estimate:
    """Expected calibration error beside that of labels drawn from the probabilities themselves.

    No interval: the error is of absolute values, so each resampling adds to it as the sampling did. Of 200
    calibrated samples in 5 classes no percentile interval held the truth, of reversed or BCa ones less than
    half. Labels drawn as the probabilities say (consistency resampling: Bröcker and Smith, Weather and
    Forecasting 22:651-661, 2007) tell what chance does alone; one draw a group, whose rows share the truth.
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
