"""Arms of a comparison: their predictions of the test samples, every measure of them, and its resamples.

The runs of an arm are trainings with different seeds, each of which predicts every sample, or the folds of a
cross-validation, each of which predicts its own samples. A measure of several trainings is their mean.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import endpoints, patients, predictions
from fibrolab.evaluation.intervals import proportions
from fibrolab.evaluation.intervals.bootstrap import resample_weights
from fibrolab.evaluation.measures import catalogue, decisions, metrics, operating_points
from fibrolab.evaluation.measures.catalogue import Outcome
from fibrolab.evaluation.measures.ranking import area
from fibrolab.evaluation.measures.weighted import Weights, known_mean

HEADLINE, END_POINTS, AT_THRESHOLDS, CLASSES = "headline", "end points", "thresholds", "classes"
RATES = {  # of an end point at its threshold, by their name among `decisions.rates`
    "sensitivity": "sensitivity", "specificity": "specificity", "ppv": "precision", "npv": "npv",
    "lr_plus": "lr_plus", "lr_minus": "lr_minus", "f1": "f1",
}  # fmt: skip


class Measure(NamedTuple):
    """A metric of a class, of an end point or (empty) of all classes, and the family of its tests."""

    family: str
    metric: str
    of: str = ""


@dataclass(frozen=True)
class Task:
    """Classes and end points that all arms share.

    Attributes:
        classes: Names of the K classes.
        ordered: Whether they are stages.
        endpoints: Name and lowest positive class of each end point.
        unit: Of segmentations, whose classes are of pixels: `mm` or `px`, the unit of distances; otherwise
            empty.
    """

    classes: tuple[str, ...]
    ordered: bool
    endpoints: Mapping[str, int]
    unit: str = ""


def limits(measure: Measure, task: Task) -> tuple[float, float]:
    """Return the least and the largest value that a measure can have."""
    metric = catalogue.find(measure.metric)
    assert metric is not None, measure.metric
    return metric.limits(len(task.classes))


def is_tested(measure: Measure, task: Task) -> bool:
    """Return whether arms are tested in a measure; each further test costs power.

    With two classes, sensitivities at the threshold are tested, not those of the most probable class. Of
    segmentations, the Dice of each class is tested, besides the headline metrics.
    """
    if task.unit:
        return measure.family == HEADLINE or (measure.metric.endswith("dice") and len(task.classes) > 2)
    if measure.family == CLASSES:
        return measure.metric == "sensitivity" and len(task.classes) > 2
    return measure.family != AT_THRESHOLDS or measure.metric in ("sensitivity", "specificity")


@dataclass(frozen=True)
class Prediction:
    """Predictions of one training, or of all folds together.

    Attributes:
        scores: Score of each end point, float64 (N,); NaN where a marker was not measured.
        positive: Whether the score reaches the threshold of validation, or one half if nothing validated,
            bool (N,); None without a threshold.
        probabilities: Class probabilities (N, K); None for a marker such as FIB-4, which predicts no class,
            and for a segmentation.
        of_rows: Of a segmentation, the value of each measure in each row (N,), of which the measure is the
            mean; NaN where it is not defined.
    """

    scores: Mapping[str, np.ndarray]
    positive: Mapping[str, np.ndarray | None]
    probabilities: np.ndarray | None = None
    of_rows: Mapping[Measure, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """One side of a comparison.

    Attributes:
        name: Name of the arm.
        samples: sample_id of each row (N,); of a patient, that of the first sample.
        labels: True class indices, int64 (N,); zeros of a segmentation.
        groups: Patient, or cluster of copies (N,).
        predictions: One a training.
        folds: Of a cross-validation, the fold that tested each row (N,).
        sizes: Of a cross-validation, mean number of training and of test samples of a fold.
    """

    name: str
    samples: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    predictions: tuple[Prediction, ...]
    folds: np.ndarray | None = None
    sizes: tuple[float, float] | None = None

    @property
    def is_marker(self) -> bool:
        """Return whether it is a clinical marker rather than a network."""
        return self.predictions[0].probabilities is None and not self.predictions[0].of_rows

    @property
    def one_row_a_group(self) -> bool:
        """Return whether its rows are independent units."""
        return len(np.unique(self.groups)) == len(self.groups)

    @property
    def effective_groups(self) -> float:
        """Effective number of its groups (`proportions.effective_groups`)."""
        return proportions.effective_groups(np.unique(self.groups, return_counts=True)[1])

    def known(self) -> np.ndarray:
        """Return the rows whose scores are all known, bool (N,)."""
        scores = [score for prediction in self.predictions for score in prediction.scores.values()]
        return np.isfinite(np.stack(scores)).all(axis=0) if scores else np.ones(len(self.labels), dtype=bool)

    def restricted(self, rows: np.ndarray) -> "Arm":
        """Return the arm on some of its rows, bool (N,)."""

        def cut(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[rows]

        kept = tuple(
            Prediction(
                {name: score[rows] for name, score in prediction.scores.items()},
                {name: cut(yes) for name, yes in prediction.positive.items()},
                cut(prediction.probabilities),
                {measure: values[rows] for measure, values in prediction.of_rows.items()},
            )
            for prediction in self.predictions
        )
        known = {name: getattr(self, name)[rows] for name in ("samples", "labels", "groups")}
        return replace(self, **known, predictions=kept, folds=cut(self.folds))


def arm_from_runs(
    name: str, frames: Sequence[pd.DataFrame], task: Task, by_patient: bool = False, folds: bool = False
) -> Arm:
    """Make an arm from the predictions of its runs.

    Args:
        name: Name of the arm.
        frames: Predictions of its runs, as `predictions.read` returns them: those of seeds all on the same
            test samples, those of folds each on its own.
        task: Classes and end points.
        by_patient: Whether a row is a patient and stage, with the mean of its probabilities, instead of a
            sample.
        folds: Whether the frames are the folds of one cross-validation.

    Returns:
        The arm, rows sorted by sample_id.
    """
    tested = []
    for number, frame in enumerate(frames):
        frame = frame.sort_values(keys.SAMPLE_ID, kind="stable", ignore_index=True)
        frame = patients.to_patients(frame) if by_patient else frame
        rows = _decided(frame, task).assign(**{keys.FOLD: number})
        tested.append(rows.sort_values(keys.SAMPLE_ID, ignore_index=True))
    if folds:
        tested = [pd.concat(tested).sort_values(keys.SAMPLE_ID, ignore_index=True)]
    first = tested[0]
    return Arm(
        name,
        first[keys.SAMPLE_ID].to_numpy(object),
        first[keys.Y_TRUE].to_numpy(np.int64),
        first[keys.GROUP_ID].to_numpy(object),
        tuple(_prediction(rows, task) for rows in tested),
        first[keys.FOLD].to_numpy(np.int64) if folds else None,
    )


def _decided(frame: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Return the test rows of a run with 1 or 0 for each end point by its own threshold, NaN without one."""
    test = predictions.select(frame, keys.TEST)
    for name, lowest in task.endpoints.items():

        def score(rows: pd.DataFrame, lowest: int = lowest) -> np.ndarray:
            return endpoints.score(predictions.probabilities(rows), lowest)

        _, decided = operating_points.decide(frame, score, lowest, operating_points.usual_rule(frame))
        test[_decision(name)] = np.nan if decided is None else decided.astype(float)
    return test


def _decision(endpoint: str) -> str:
    """Return the name of the column of a run's decisions on an end point."""
    return f"decided {endpoint}"


def _prediction(rows: pd.DataFrame, task: Task) -> Prediction:
    probabilities = predictions.probabilities(rows)
    scores = {name: endpoints.score(probabilities, lowest) for name, lowest in task.endpoints.items()}
    decided = {name: rows[_decision(name)] for name in task.endpoints}
    positive = {name: None if yes.isna().any() else yes.to_numpy(bool) for name, yes in decided.items()}
    return Prediction(scores, positive, probabilities)


def measured(arm: Arm, task: Task, weights: Weights | None = None) -> dict[Measure, np.ndarray]:
    """Compute every measure of every training, float64 (S, R), under weights (R, N); None: equal weights."""
    if weights is None:
        weights = np.ones((1, len(arm.labels)))
    each = [
        _of_classes(arm, prediction, task, weights)
        | _of_endpoints(arm, prediction, task, weights)
        | {measure: known_mean(values, weights) for measure, values in prediction.of_rows.items()}
        for prediction in arm.predictions
    ]
    return {measure: np.stack([training[measure] for training in each]) for measure in each[0]}


def _of_classes(arm: Arm, prediction: Prediction, task: Task, weights: Weights) -> dict[Measure, np.ndarray]:
    if prediction.probabilities is None:
        return {}
    values = metrics.evaluate(arm.labels, prediction.probabilities, task.classes, weights, task.ordered)
    names = catalogue.compared(len(task.classes), task.ordered)
    found = {Measure(HEADLINE, name): values[name] for name in names}
    averaged = [metric.name for metric in catalogue.by_class(averaged=True)]
    # With two classes the first mirrors the second.
    shown = task.classes if len(task.classes) > 2 else task.classes[1:]
    for name in shown:
        found |= {Measure(CLASSES, rate, name): values[f"{rate}_{name}"] for rate in averaged}
    return found | {Measure(CLASSES, f"macro_{rate}"): values[f"macro_{rate}"] for rate in averaged}


def _of_endpoints(
    arm: Arm, prediction: Prediction, task: Task, weights: Weights
) -> dict[Measure, np.ndarray]:
    found = {}
    for name, lowest in task.endpoints.items():
        if name not in prediction.scores:
            continue
        ill = arm.labels >= lowest
        found[Measure(END_POINTS, "auc", name)] = area(prediction.scores[name], ill, weights)
        if name in prediction.positive:
            rates = _at_threshold(prediction.positive[name], ill, weights)
            found |= {Measure(AT_THRESHOLDS, rate, name): rates[theirs] for rate, theirs in RATES.items()}
    return found


def _at_threshold(yes: np.ndarray | None, ill: np.ndarray, weights: Weights) -> dict[str, np.ndarray]:
    """Compute the rates of a decision (R,); NaN where there is none."""
    if yes is None:
        return dict.fromkeys(RATES.values(), np.full(len(weights), np.nan))
    matrix = decisions.confusion_matrix(ill.astype(int), yes.astype(int), 2, weights)
    return {name: rates[:, 1] for name, rates in decisions.rates(matrix).items()}


def resampled_values(arm: Arm, task: Task, resamples: int, seed: int) -> dict[Measure, np.ndarray]:
    """Compute every measure of every training of an arm in every resample of its groups.

    Args:
        arm: The arm.
        task: Classes and end points.
        resamples: Number R of resamples.
        seed: Seed of the resamples; arms of the same groups with one seed see the same patients.

    Returns:
        float64 (S, R) a measure; all NaN where there is one group only.
    """
    if len(np.unique(arm.groups)) < 2:
        undefined = np.full((len(arm.predictions), resamples), np.nan)
        return dict.fromkeys(measured(arm, task), undefined)
    return values_under_weights(arm, task, resample_weights(arm.groups, resamples, seed))


def values_under_weights(arm: Arm, task: Task, blocks: Iterable[Weights]) -> dict[Measure, np.ndarray]:
    """Compute every measure of every training, (S, R), under weights in blocks of R rows in all."""
    each = [measured(arm, task, weights) for weights in blocks]
    return {name: np.concatenate([block[name] for block in each], axis=1) for name in each[0]}


def binary_decisions(
    arm: Arm, measure: Measure, task: Task, training: int = 0
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the true and the predicted condition, bool (N,) each; None for the latter without a threshold.

    Args:
        arm: The arm.
        measure: Of a class, or of an end point at its threshold.
        task: Classes and end points.
        training: Index of the training whose predictions are taken.
    """
    prediction = arm.predictions[training]
    if measure.family == AT_THRESHOLDS:
        return arm.labels >= task.endpoints[measure.of], prediction.positive[measure.of]
    assert prediction.probabilities is not None, "a marker predicts no class"
    k = task.classes.index(measure.of)
    return arm.labels == k, decisions.decide(prediction.probabilities) == k


def counted_hits(arm: Arm, measure: Measure, task: Task, training: int = 0) -> Outcome | None:
    """Return the hits and the counted rows of a measure, bool (N,) each; None if it is no proportion of rows.

    Args:
        arm: The arm.
        measure: A measure of the arm.
        task: Classes and end points.
        training: Index of the training whose predictions are taken.
    """
    metric = catalogue.find(measure.metric)
    if metric is None or metric.counts is None or task.unit:
        return None
    if measure.family == HEADLINE and not metric.by_class:
        probabilities = arm.predictions[training].probabilities
        assert probabilities is not None, "a marker predicts no class"
        return metric.counts(arm.labels, decisions.decide(probabilities))
    if measure.family not in (CLASSES, AT_THRESHOLDS) or not measure.of:
        return None
    present, predicted = binary_decisions(arm, measure, task, training)
    return None if predicted is None else metric.counts(present, predicted)
