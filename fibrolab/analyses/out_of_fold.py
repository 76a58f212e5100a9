"""Out-of-fold predictions of finished runs, to stack: one a sample to fit on, the mean for a test sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from fibrolab import keys
from fibrolab.analyses import regression
from fibrolab.choices import refuse
from fibrolab.errors import DataError, SplitError, listing
from fibrolab.evaluation import predictions
from fibrolab.runs.trained_run import TrainedRun, named_twice


@dataclass(frozen=True)
class Fitted:
    """Predictions of the runs of one arm; index sample_id, in the manifest's order.

    Attributes:
        rows: The columns of predictions except the probabilities; partition `validation` marks the samples
            to fit on.
        features: Confidences (N, F); for a test sample the mean over the runs.
    """

    rows: pd.DataFrame
    features: pd.DataFrame


def refuse_unlike(runs: Sequence[TrainedRun]) -> None:
    """Refuse runs that differ in samples, task or test set.

    Raises:
        ConfigError: The differences of all runs from the first.
    """
    first, *others = runs
    faults = named_twice(each.run_id for each in runs)
    for other in others:
        if other.manifest_hash != first.manifest_hash:
            faults.append(
                f"Run {other.run_id} has another manifest ({other.config.data.name}, "
                f"{other.manifest_hash[:12]}) than {first.run_id} ({first.config.data.name}, "
                f"{first.manifest_hash[:12]})."
            )
        elif list(other.config.task.classes) != list(first.config.task.classes):
            faults.append(
                f"Run {other.run_id} has task={other.config.task.name}, {first.run_id} "
                f"task={first.config.task.name}."
            )
        elif other.tested != first.tested:
            faults.append(
                f"Run {other.run_id} tests {len(other.tested - first.tested)} samples that {first.run_id} "
                f"does not, and not {len(first.tested - other.tested)} that it does; use one split and seed."
            )
    refuse(faults)


def gathered(name: str, runs: Sequence[TrainedRun]) -> Fitted:
    """Gather the predictions of one arm: the folds of a cross-validation, or one run's validation set.

    The confidences of a test sample are averaged on the scale of the regression (logits or logarithms). The
    regression is linear on this scale, so that the result equals stacking each fold's network and averaging
    these predictions.

    Args:
        name: Name of the arm, for its features and for messages.
        runs: Runs that `refuse_unlike` accepts.

    Raises:
        DataError: There are no validation samples, or one is in the validation part of several runs or, if
            there are several, of none.
        SplitError: A group is in both the validation and the test part.
    """
    frame = pd.concat([each.predictions for each in runs], ignore_index=True)
    fit = frame[frame[keys.PARTITION] == keys.VALIDATION]
    if fit.empty:
        raise DataError(
            f"The runs of arm {name} have no validation samples, on which the regression is fitted: train "
            "them with split=folds_in_training folds=all, or with a split.val above 0."
        )
    test = frame[frame[keys.PARTITION] == keys.TEST].drop_duplicates(keys.SAMPLE_ID)
    _refuse_leaks(name, fit, test)
    _refuse_gaps(name, fit, runs)
    order = runs[0].samples.index
    rows = pd.concat([fit, test]).set_index(keys.SAMPLE_ID)
    order = order[order.isin(rows.index)]
    features = pd.DataFrame(regression.confidences(predictions.probabilities(frame)), frame[keys.SAMPLE_ID])
    classes = list(runs[0].config.task.classes)
    features.columns = [name] if len(classes) == 2 else [f"{name}_{each}" for each in classes]
    return Fitted(rows.loc[order, list(predictions.COLUMNS[1:])], features.groupby(level=0).mean().loc[order])


def _refuse_leaks(name: str, fit: pd.DataFrame, test: pd.DataFrame) -> None:
    shared = sorted(set(fit[keys.GROUP_ID]) & set(test[keys.GROUP_ID]))
    if shared:
        raise SplitError(
            f"{len(shared)} groups of arm {name} are both in the validation part, on which the regression is "
            f"fitted, and in the test part:\n{listing(shared)}\nA score would not be valid evidence; train "
            "with split=folds_in_training."
        )


def _refuse_gaps(name: str, fit: pd.DataFrame, runs: Sequence[TrainedRun]) -> None:
    """Refuse samples outside the test set that are not predicted exactly once."""
    counts = fit[keys.SAMPLE_ID].value_counts()
    faults = [f"{sample}: in the validation part of {n} runs" for sample, n in counts[counts > 1].items()]
    if len(runs) > 1:
        samples = runs[0].samples
        due = samples.index[samples[keys.PARTITION] != keys.TEST]
        faults += [f"{sample}: in the validation part of none" for sample in due[~due.isin(counts.index)]]
    if faults:
        raise DataError(
            f"The runs of arm {name} are not the folds of one cross-validation; {len(faults)} samples are "
            f"predicted twice or not at all:\n{listing(faults)}\nName every fold of one "
            "split=folds_in_training once, or the run of `train split=folds_in_training folds=all`."
        )
