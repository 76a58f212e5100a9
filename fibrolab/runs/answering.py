"""Decision rules of a trained run, applied to the probabilities of new samples and patients.

Thresholds, temperature and the limits of the prediction sets were fitted on the validation samples of the
run. A page, an export and a server answer by the same rules.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.patient_ids import folded
from fibrolab.evaluation import endpoints, patients, predictions
from fibrolab.evaluation.measures import operating_points
from fibrolab.evaluation.measures.decisions import decide
from fibrolab.evaluation.probabilities import calibration, conformal
from fibrolab.runs.trained_run import TrainedRun

SAMPLE, PATIENT = "sample", "patient"  # levels of the rules
PREDICTED, CONFIDENCE, SET = "predicted", "confidence", "prediction_set"
COPY, DISAGREEMENT, ERROR = "copy_of", "disagreement", "error"
TYPICALITY, UNLIKE = "typicality", "unlike_training"
ANSWERED = "answered"  # time of the answer, UTC, such as 2026-01-31T12:00:00+00:00
STUDY_DATE = "study_date"  # of a DICOM file
# Columns with statistics of the picture that represents a sample, and those of its survey.
PIXELS = {"width": "cut_width", "height": "cut_height", "grey_mean": "mean", "grey_sd": "sd"}
DIGEST = "input_sha256"  # hash of what an answer is made of
POSITIVE = "_positive"  # ending of the column that says whether an end point's score reaches its threshold
USE = "research use only"


@dataclass(frozen=True)
class Rules:
    """Decision rules of one level, of samples or of patients.

    Attributes:
        classes: Names of the K classes.
        ordered: Whether they are stages.
        endpoints: Name and lowest positive class of each end point.
        thresholds: Threshold of each end point, by Youden's index on validation or one half if the run has
            none; an end point without one is missing.
        temperature: Temperature of the probabilities; NaN if none could be fitted.
        alpha: Error rate of the prediction sets.
        limit: Largest probability mass before a class of a prediction set (`conformal`); infinite if there
            were too few groups, NaN without validation samples.
    """

    classes: tuple[str, ...]
    ordered: bool
    endpoints: Mapping[str, int]
    thresholds: Mapping[str, float]
    temperature: float
    alpha: float
    limit: float

    @property
    def probability_columns(self) -> list[str]:
        """Column of each class's probability, such as `p_F2`."""
        return [f"p_{name}" for name in self.classes]

    def answers(self, probabilities: np.ndarray) -> pd.DataFrame:
        """Return `columns` as a table."""
        return pd.DataFrame(self.columns(probabilities))

    def columns(self, probabilities: np.ndarray) -> dict[str, np.ndarray]:
        """Return the answer to each row of probabilities.

        Args:
            probabilities: As the network predicts them, before the temperature, float64 (N, K).

        Returns:
            Columns (N,) by their name: probability of each class (`p_F2`); the most probable class; its
            probability at the temperature of validation (`confidence`); the prediction set, names with blanks
            between, or commas if a name holds a blank, empty without validation samples; score of each end
            point, and whether it reaches the threshold.
        """
        found = dict(zip(self.probability_columns, probabilities.T, strict=True))
        chosen = decide(probabilities)
        found[PREDICTED] = np.array(self.classes, object)[chosen]
        scaled = probabilities
        if math.isfinite(self.temperature):
            scaled = calibration.scaled(probabilities, self.temperature)
        found[CONFIDENCE] = scaled[np.arange(len(scaled)), chosen]
        found[SET] = np.array(self._sets(probabilities), object)
        for name, lowest in self.endpoints.items():
            found[name] = score = endpoints.score(probabilities, lowest)
            if name in self.thresholds:
                found[f"{name}{POSITIVE}"] = score >= self.thresholds[name]
        return found

    def members(self, names: str) -> list[str]:
        """Return the classes of a prediction set that `columns` wrote."""
        return names.split(self._between) if names else []

    @property
    def _between(self) -> str:
        """Separator of the names in a prediction set: a blank, unless a name holds one."""
        return ", " if any(" " in name for name in self.classes) else " "

    def _sets(self, probabilities: np.ndarray) -> list[str]:
        inside = conformal.mass_before(probabilities, self.ordered) <= self.limit  # none, if it is NaN
        return [self._between.join(np.array(self.classes, object)[row]) for row in inside]


def rules(run: TrainedRun, alpha: float) -> dict[str, Rules]:
    """Return the decision rules of a run, of samples and of patients.

    Of several networks, the limits of the prediction sets come from the validation samples of all folds
    together, each predicted by the network of its fold: the coverage is then approximate.

    Args:
        run: A finished run that classifies.
        alpha: Error rate of the prediction sets.

    Raises:
        ConfigError: The run has no network or was not evaluated, or alpha is not between 0 and 1.
    """
    predictor, task = run.predictor, run.predictors[0].record["task"]
    classes, ordered = tuple(predictor.classes), bool(task["ordered"])
    points = endpoints.of_task(classes, task["endpoints"] or {}, ordered)
    validation = run.predictions[run.predictions[keys.PARTITION] == keys.VALIDATION]
    rule, found = operating_points.usual_rule(validation), {}
    for level, frame in ((SAMPLE, validation), (PATIENT, patients.to_patients(validation))):
        fitted = predictor.thresholds.get(level, {})
        chosen = {name: fitted.get(name, {}).get(rule) for name in points}
        found[level] = Rules(
            classes,
            ordered,
            points,
            {name: value for name, value in chosen.items() if value is not None},
            predictor.temperature.get(level, math.nan),
            alpha,
            _limit(frame, alpha, ordered),
        )
    return found


def of_patients(samples: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """Return the answer to each patient, by the mean of the probabilities of the patient's samples.

    Args:
        samples: Answers to samples, with `sample_id`, `patient_id` and perhaps `visit_id`.
        rules: Rules of the level of patients.

    Returns:
        One row a patient, or a visit where visits are known, in order of appearance: names, number of samples
        `n`, and the columns of `Rules.answers`. Samples without a patient or a probability are left out.
    """
    names = [name for name in (keys.PATIENT_ID, keys.VISIT_ID) if name in samples]
    columns = rules.probability_columns
    rows = samples[(samples[keys.PATIENT_ID] != "") & samples[columns].notna().all(axis=1)]
    means = rows.groupby(names, sort=False)[columns].mean()
    counts = rows.groupby(names, sort=False).size().to_numpy()
    left = means.reset_index()[names].assign(n=counts)
    return left.join(rules.answers(means.to_numpy(np.float64)))


def spellings(samples: pd.DataFrame) -> str:
    """Return a sentence on patients whose ids, such as `007` and `7`, may be those of one; empty without.

    Args:
        samples: Answers to samples, with `patient_id`.
    """
    ids = samples[keys.PATIENT_ID].drop_duplicates()
    ids = ids[ids != ""]
    several = [group.tolist() for _, group in ids.groupby(ids.map(folded)) if len(group) > 1]
    if not several:
        return ""
    more = f", and {len(several) - 1} more" if len(several) > 1 else ""
    return (
        f"Patient ids that differ only in case, blanks or zeros in front: {' and '.join(several[0])}{more}. "
        "They are answered as several patients; if they are one person, give one id."
    )


def disagreement(each: np.ndarray) -> np.ndarray:
    """Return the proportion of networks whose most probable class is not that of their mean, float64 (N,).

    Args:
        each: Probabilities of the same N samples by each network, float64 (networks, N, K).
    """
    common = decide(np.mean(each, axis=0))
    return np.mean([decide(own) != common for own in each], axis=0)


def _limit(validation: pd.DataFrame, alpha: float, ordered: bool) -> float:
    """Fit the limit of the prediction sets on validation rows; NaN if there are none."""
    if validation.empty:
        return math.nan
    mass = conformal.mass_before(predictions.probabilities(validation), ordered)
    own = mass[np.arange(len(mass)), validation[keys.Y_TRUE].to_numpy()]
    return conformal.threshold(own, validation[keys.GROUP_ID].to_numpy(), alpha)
