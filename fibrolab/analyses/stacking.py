"""The command `stack`: fit a regression on the predictions of finished runs, and report it as a new run."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from fibrolab import environment, keys
from fibrolab.allowed import POSITIVE
from fibrolab.analyses import regression
from fibrolab.analyses.evaluating import announce, conclude
from fibrolab.analyses.out_of_fold import Fitted, gathered, refuse_unlike
from fibrolab.analyses.run_files import record
from fibrolab.choices import refuse, unknown
from fibrolab.config import resolved
from fibrolab.data import clinical
from fibrolab.errors import DataError, listing
from fibrolab.evaluation import predictions, score
from fibrolab.runs.overlap import require_one_key
from fibrolab.runs.trained_run import NEEDED, TrainedRun, ids, open_run
from fibrolab.storage import put, save_json, write_table
from fibrolab.tracking import SOURCE, track

STACK_FILE = "stack.json"  # the regression in numbers
ALONE = ("accuracy", "macro_auc")  # metrics of each source without the others
MISSING = ("error", "median")


def run(config: DictConfig) -> str:
    """Stack runs in a new run, which is evaluated and reported like any other.

    Args:
        config: `conf/stack.yaml`, composed.

    Returns:
        Id of the new run.

    Raises:
        ConfigError: Settings out of range, unknown runs, or runs that differ in samples, task or test set.
        DataError: Samples predicted twice or not at all, missing values, or a class with one group.
        SplitError: A group is in both the validation and the test part.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    given = resolved(config)
    arms, columns = _checked(given)
    read_runs = {
        name: [open_run(run_id, config.tracking.uri, NEEDED) for run_id in run_ids]
        for name, run_ids in arms.items()
    }
    runs = [each for of_arm in read_runs.values() for each in of_arm]
    require_one_key(runs)
    refuse_unlike(runs)
    found = {name: gathered(name, of_arm) for name, of_arm in read_runs.items()}
    rows, features = joined(list(found.values()), runs[0], columns, given["missing"])
    classes = list(runs[0].config.task.classes)
    frame, description = stack(rows, features, classes, given["penalty"], given["seed"])
    sources = {name: list(arm.features.columns) for name, arm in found.items()}
    alone = each_alone(rows, features, sources | {name: [name] for name in columns}, classes, given)
    settings = _settings(given, runs[0], "+".join([*found, *columns]))
    tags = {"model": settings.model.name, "data": settings.data.name, "split": settings.split.name}
    with track(**given["tracking"], name=config.name, tags=tags | {SOURCE: "fibrolab.stack"}) as tracked:
        known = environment.describe() | {"started": started.isoformat(timespec="seconds"), "device": "cpu"}
        known["ids_key"] = runs[0].ids_key
        record(tracked, settings, resolved(settings), known)
        _write_data(tracked.folder, runs, classes)
        predictions.write(frame, tracked.folder / keys.PREDICTIONS_FILE)
        save_json(description | {"alone": alone}, tracked.folder / STACK_FILE)
        known |= {"seconds": round(time.monotonic() - clock, 1)}
        save_json(known, tracked.folder / keys.ENVIRONMENT_FILE)
        evaluated = conclude(tracked, config, scoring="stack")
        tracked.log_metrics(_flat(alone))
        announce(evaluated, tracked.id, config.tracking.uri)
        for name, numbers in alone.items():
            metrics = ", ".join(
                f"{metric} {numbers[metric]:.3f} [{numbers[f'{metric}_low']:.3f}, "
                f"{numbers[f'{metric}_high']:.3f}]"
                for metric in ALONE
            )
            print(f"alone    {name}: {metrics}")
    return tracked.id


def joined(
    arms: Sequence[Fitted], first: TrainedRun, columns: Sequence[str], missing: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join the confidences of all arms and the clinical values of the same samples.

    Args:
        arms: Arms with the same test set.
        first: A run of the first arm, for the clinical columns.
        columns: Clinical columns.
        missing: Treatment of values that were not measured: `error`, or `median` of the samples to fit on.

    Returns:
        Rows as in `Fitted`, and features (N, F + D), both with index sample_id.

    Raises:
        DataError: An arm predicts other samples, or a value is missing.
        ConfigError: A column is not clinical.
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
        faults = [f"{name}: not measured in {n} samples" for name, n in gaps.sum().items() if n]
        faults += [f"{sample} lacks {name}" for name in columns for sample in rows.index[gaps[name]]]
        raise DataError(
            f"Values of '{first.config.data.name}' are missing:\n{listing(faults)}\nComplete the table, or "
            "leave the column out; missing=median fills in the median of the samples to fit on."
        )
    filled = values.fillna(values[fit].median())
    return rows, pd.concat([*(arm.features for arm in arms), filled], axis=1)


def stack(
    rows: pd.DataFrame, features: pd.DataFrame, classes: Sequence[str], penalty: float, seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Fit a regression and predict with it.

    Args:
        rows: Samples with index sample_id, as in `Fitted`.
        features: Without missing values (N, D).
        classes: Names of the K classes.
        penalty: As for `regression.fitted`.
        seed: Seed of the cross-fitting.

    Returns:
        Predictions of the validation samples by regressions fitted without the sample's group, and of the
        test samples by the regression fitted on all validation samples; and this regression in numbers.

    Raises:
        DataError: A class has fewer than two groups.
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
    """Score each source without the others, to show what the stack adds to the best of them.

    Args:
        rows: As for `stack`.
        features: As for `stack`.
        sources: Columns of the features by their source: a network or a clinical column.
        classes: Names of the K classes.
        given: Settings with `penalty`, `seed` and `bootstrap`.

    Returns:
        For each source the metrics in `ALONE` on the test set, with `_low` and `_high`.
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
    """Check the settings; return run ids by arm, and the clinical columns. A single one needs no brackets."""
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
    if not POSITIVE.holds(penalty):
        faults.append(f"penalty={penalty} is not {POSITIVE.words}.")
    refuse(faults)
    return arms, columns


def _settings(given: Mapping[str, Any], first: TrainedRun, model: str) -> DictConfig:
    """Return the settings of the stack with data, task and split of its runs."""
    shared = {name: first.config[name] for name in ("data", "task", "split")}
    return OmegaConf.create({**given, **shared, "model": {"name": model}})


def _write_data(folder: Path, runs: Sequence[TrainedRun], classes: Sequence[str]) -> None:
    """Write manifest, split and the most serious audit of the runs.

    All samples outside the test part are marked as training: networks or the regression were fitted on them.
    """
    first = runs[0]
    put(folder / keys.MANIFEST_FILE, (first.folder / keys.MANIFEST_FILE).read_bytes())
    split = pd.read_csv(first.folder / keys.SPLIT_FILE, dtype=str, keep_default_na=False)
    test = split[keys.PARTITION] == keys.TEST
    split[keys.PARTITION] = split[keys.PARTITION].where(test, keys.TRAIN)
    write_table(split, folder / keys.SPLIT_FILE)
    audited = max(runs, key=lambda each: keys.VERDICTS.index(each.audit["verdict"]))
    if (page := audited.folder / keys.AUDIT_PAGE).is_file():
        put(folder / keys.AUDIT_PAGE, page.read_bytes())
    labels = first.samples[keys.Y_TRUE].to_numpy()
    counts = {
        name: np.bincount(labels[split[keys.PARTITION] == name], minlength=len(classes)).tolist()
        for name in (keys.TRAIN, keys.TEST)
    }
    parts = {name: dict(zip(classes, numbers, strict=True)) for name, numbers in counts.items()}
    save_json(audited.audit | {"partitions": parts}, folder / keys.AUDIT_FILE)
