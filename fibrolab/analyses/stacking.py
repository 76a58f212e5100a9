"""One stacked arm: finished runs are read, a regression is fitted on their predictions, a run is left."""

import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from fibrolab import environment, keys
from fibrolab.analyses import regression
from fibrolab.analyses.evaluating import announce, conclude
from fibrolab.analyses.out_of_fold import Fitted, gathered, refuse_unlike
from fibrolab.analyses.run_files import record
from fibrolab.choices import refuse, unknown
from fibrolab.config import resolved
from fibrolab.data import clinical
from fibrolab.errors import DataError, listing
from fibrolab.evaluation import predictions, score
from fibrolab.runs.trained_run import NEEDED, TrainedRun, ids, open_run
from fibrolab.storage import save_json
from fibrolab.tracking import SOURCE, track

STACK_FILE = "stack.json"  # the regression in numbers
ALONE = ("accuracy", "macro_auc")  # told of each part
MISSING = ("error", "median")


def run(config: DictConfig) -> str:
    """Stack runs, and leave a run that is evaluated and reported as any other.

    Args:
        config: `conf/stack.yaml`, composed.

    Returns:
        Id of the run that is left.

    Raises:
        ConfigError: Settings out of range, unknown runs, or runs that do not fit together.
        DataError: Samples predicted twice or not at all, values missing, or a class of one group.
        SplitError: Groups in both the fit and the test.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    given = resolved(config)
    arms, columns = _checked(given)
    asked = {
        name: [open_run(run_id, config.tracking.uri, NEEDED) for run_id in runs]
        for name, runs in arms.items()
    }
    records = [each for runs in asked.values() for each in runs]
    refuse_unlike(records)
    found = {name: gathered(name, runs) for name, runs in asked.items()}
    rows, features = joined(list(found.values()), records[0], columns, given["missing"])
    classes = list(records[0].config.task.classes)
    frame, description = stack(rows, features, classes, given["penalty"], given["seed"])
    sources = {name: list(arm.features.columns) for name, arm in found.items()}
    alone = each_alone(rows, features, sources | {name: [name] for name in columns}, classes, given)
    settings = _settings(given, records[0], "+".join([*found, *columns]))
    tags = {"model": settings.model.name, "data": settings.data.name, "split": settings.split.name}
    with track(**given["tracking"], name=config.name, tags=tags | {SOURCE: "fibrolab.stack"}) as tracked:
        known = environment.describe() | {"started": started.isoformat(timespec="seconds"), "device": "cpu"}
        record(tracked, settings, resolved(settings), known)
        _save_data(tracked.folder, records, classes)
        predictions.write(frame, tracked.folder / keys.PREDICTIONS_FILE)
        save_json(description | {"alone": alone}, tracked.folder / STACK_FILE)
        known |= {"seconds": round(time.monotonic() - clock, 1)}
        save_json(known, tracked.folder / keys.ENVIRONMENT_FILE)
        conclude(tracked, config)
        tracked.log_metrics(_flat(alone))
        announce(tracked.folder, tracked.id, config.tracking.uri)
        for name, numbers in alone.items():
            told = ", ".join(
                f"{metric} {numbers[metric]:.3f} [{numbers[f'{metric}_low']:.3f}, "
                f"{numbers[f'{metric}_high']:.3f}]"
                for metric in ALONE
            )
            print(f"alone    {name}: {told}")
    return tracked.id


def joined(
    arms: Sequence[Fitted], first: TrainedRun, columns: Sequence[str], missing: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join the samples that all arms predicted with their features.

    Args:
        arms: Of one test set.
        first: A run of the first arm, for the clinical columns.
        columns: Clinical columns.
        missing: `error`, or `median` of the samples to fit on, for values that were not measured.

    Returns:
        Rows as of `Fitted`, and features (N, F + D), both by sample_id.

    Raises:
        DataError: An arm of other samples, or a value missing.
        ConfigError: A column that is not clinical.
    """
    rows = arms[0].rows
    if any(not arm.rows.index.equals(rows.index) for arm in arms[1:]):
        raise DataError(
            "The arms predict different samples: stack arms of the same folds, or of one run each."
        )
    measured = clinical.measured(first.samples.loc[rows.index], columns).astype(np.float64)
    values = pd.DataFrame(measured, index=rows.index, columns=list(columns))
    fit = rows[keys.PARTITION] == keys.VALIDATION
    gaps = values.isna()
    empty = [name for name in columns if gaps.loc[fit, name].all()]
    if empty or (gaps.to_numpy().any() and missing == "error"):
        faults = [f"{name}: not measured of {n} samples" for name, n in gaps.sum().items() if n]
        faults += [f"{sample} lacks {name}" for name in columns for sample in rows.index[gaps[name]]]
        raise DataError(
            f"Values of '{first.config.data.name}' are missing:\n{listing(faults)}\nComplete the table, or "
            "leave the column out; missing=median takes the median of the samples fitted on."
        )
    filled = values.fillna(values[fit].median())
    return rows, pd.concat([*(arm.features for arm in arms), filled], axis=1)


def stack(
    rows: pd.DataFrame, features: pd.DataFrame, classes: Sequence[str], penalty: float, seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Fit a regression and predict with it.

    Args:
        rows: Samples by sample_id, as of `Fitted`.
        features: No value missing (N, D).
        classes: Names of the K classes.
        penalty: See `regression.fitted`.
        seed: Of the cross-fitting.

    Returns:
        Predictions: of validation by regressions that saw nothing of the sample's group, of test by the one
        fitted on all of validation; and that one in numbers.

    Raises:
        DataError: A class of fewer than two groups.
    """
    fit = (rows[keys.PARTITION] == keys.VALIDATION).to_numpy()
    values, labels = features.to_numpy(), rows[keys.Y_TRUE].to_numpy()
    groups = rows.loc[fit, keys.GROUP_ID].to_numpy()
    predicted = np.empty((len(rows), len(classes)))
    predicted[fit] = regression.cross_fitted(values[fit], labels[fit], groups, classes, penalty, seed)
    model = regression.fitted(values[fit], labels[fit], penalty)
    predicted[~fit] = model.predict_proba(values[~fit])
    frame = rows.assign(**{keys.FOLD: 0}).reset_index()
    frame[keys.probability_columns(len(classes))] = predicted
    frame = frame.sort_values(keys.PARTITION, ascending=False, kind="stable", ignore_index=True)
    return frame, regression.described(model, list(features.columns), classes)


def each_alone(
    rows: pd.DataFrame,
    features: pd.DataFrame,
    sources: Mapping[str, Sequence[str]],
    classes: Sequence[str],
    given: Mapping[str, Any],
) -> dict[str, dict[str, float]]:
    """Score each source without the others, to show what the stack adds to its best part.

    Args:
        rows: As for `stack`.
        features: As for `stack`.
        sources: Columns of the features by the network or the measurement that they come from.
        classes: Names of the K classes.
        given: Settings with `penalty`, `seed` and `bootstrap`.

    Returns:
        Of each source, the metrics of `ALONE` of the test set with `_low` and `_high`.
    """
    found = {}
    for name, columns in sources.items():
        frame, _ = stack(rows, features[list(columns)], classes, given["penalty"], given["seed"])
        bootstrap = given["bootstrap"]
        table = score.score(
            frame, classes, resamples=bootstrap["resamples"], level=bootstrap["level"], seed=given["seed"]
        )
        parts = {"": "value", "_low": "low", "_high": "high"}
        found[name] = {
            f"{metric}{end}": float(table[column][metric])
            for metric in ALONE
            for end, column in parts.items()
        }
    return found


def _flat(alone: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {
        f"test/{metric}_of_{name}": value for name, found in alone.items() for metric, value in found.items()
    }


def _checked(given: Mapping[str, Any]) -> tuple[dict[str, list[str]], list[str]]:
    """Return run ids by arm and the clinical columns; a single one needs no brackets."""
    arms, columns, missing, penalty = (given[name] for name in ("runs", "columns", "missing", "penalty"))
    arms = arms if isinstance(arms, dict) else {"network": arms}
    arms = {str(name): ids(runs) for name, runs in arms.items()}
    columns = columns if isinstance(columns, list) else [columns]
    faults = [unknown("columns", name, clinical.COLUMNS) for name in columns if name not in clinical.COLUMNS]
    if not arms or not all(arms.values()):
        faults.append(
            f"runs={given['runs']} names no runs: give runs=[ID,ID], or 'runs={{gm: [ID], em: [ID]}}'."
        )
    if missing not in MISSING:
        faults.append(unknown("missing", missing, MISSING))
    if not isinstance(penalty, int | float) or isinstance(penalty, bool) or not 0 < penalty < np.inf:
        faults.append(f"penalty={penalty} is no number above 0.")
    refuse(faults)
    return arms, columns


def _settings(given: Mapping[str, Any], first: TrainedRun, model: str) -> DictConfig:
    """Return the settings of the stack with those it shares with its runs."""
    shared = {name: first.config[name] for name in ("data", "task", "split")}
    return OmegaConf.create({**given, **shared, "model": {"name": model}})


def _save_data(folder: Path, records: Sequence[TrainedRun], classes: Sequence[str]) -> None:
    """Manifest, split, gravest audit; all but the test was fitted on, by a network or by the regression."""
    first = records[0]
    shutil.copyfile(first.folder / keys.MANIFEST_FILE, folder / keys.MANIFEST_FILE)
    split = pd.read_csv(first.folder / keys.SPLIT_FILE, dtype=str, keep_default_na=False)
    test = split[keys.PARTITION] == keys.TEST
    split[keys.PARTITION] = split[keys.PARTITION].where(test, keys.TRAIN)
    split.to_csv(folder / keys.SPLIT_FILE, index=False)
    gravest = max(records, key=lambda each: keys.GRAVITY.index(each.audit["verdict"]))
    if (page := gravest.folder / keys.AUDIT_PAGE).is_file():
        shutil.copyfile(page, folder / keys.AUDIT_PAGE)
    labels = first.samples[keys.Y_TRUE].to_numpy()
    counts = {
        name: np.bincount(labels[split[keys.PARTITION] == name], minlength=len(classes)).tolist()
        for name in (keys.TRAIN, keys.TEST)
    }
    parts = {name: dict(zip(classes, numbers, strict=True)) for name, numbers in counts.items()}
    save_json(gravest.audit | {"partitions": parts}, folder / keys.AUDIT_FILE)
