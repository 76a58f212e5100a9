"""The results of a study as tables, which are all that its pages need: gathered from its runs, kept as CSV.

trainings.csv     one row a training: network, sizes of its parts, run, time, or why it did not finish
metrics.csv       every metric of its test samples and patients, with interval and baseline
comparisons.csv   each measure of each arm, and each difference between arms with its tests
baselines.csv     accuracy that is reached without a model on the same test samples
audit.csv         verdict and findings of the audit of each protocol
history.csv       learning curves
confusion.csv     counts of true and predicted classes
cohort.csv        characteristics of training, validation and test sets
pictures.csv      files in `figures` that were drawn from the runs, with captions (`studies.study_pictures`)
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.analyses import comparing
from fibrolab.analyses.comparison_sides import Side, refuse_other_patients, side, task_of
from fibrolab.choices import refuse, unknown
from fibrolab.config import resolved
from fibrolab.errors import ConfigError, DataError, FibrolabError
from fibrolab.evaluation import predictions
from fibrolab.evaluation.clinical import comparators, markers
from fibrolab.evaluation.measures.decisions import decide
from fibrolab.evaluation.patients import PATIENTS_FILE
from fibrolab.evaluation.published import reported_table
from fibrolab.runs.trained_run import TrainedRun, open_run
from fibrolab.storage import as_csv, make_folder, put_all
from fibrolab.studies import definition
from fibrolab.studies.definition import Study
from fibrolab.studies.trainings import Place, Training

Tables = dict[str, pd.DataFrame]
PLACE = ["protocol", "arm", "task", "seed"]
COHORT, PICTURES = "cohort", "pictures"
OF_RUNS = ("metrics", "baselines", "audit", "history", "confusion", COHORT)
NAMES = ("trainings", "comparisons", *OF_RUNS, PICTURES)
OPTIONAL = (COHORT, PICTURES)  # which other results may lack
SAME_FOR_ALL_ARMS = {"baselines": ["baseline"], "audit": ["key"], COHORT: ["variable", "statistic"]}
QUANTITY = ["arm", "task", "cohort", "of", "metric"]  # columns that name a published quantity
PUBLISHED_FILE, RELATED_FILE = "published.csv", "related.csv"  # beside the study's file
COLUMNS = {  # that each table has at least
    "trainings": [*PLACE, "state", "own_network", "network", "data", "run", "error"],
    "comparisons": ["protocol", "task"],
    "metrics": [*PLACE, "level", "metric", "value", "low", "high", "baseline"],
    "baselines": [*PLACE, "baseline", "value", "low", "high"],
    "audit": [*PLACE, "verdict", "severity", "key", "sentence"],
    "history": [*PLACE, "epoch"],
    "confusion": [*PLACE, "true", "predicted", "n"],
    COHORT: [*PLACE, "variable", "statistic", *keys.PARTITIONS, "p"],
    PICTURES: ["protocol", "task", "file", "caption"],
}
TRAINED, DRAWN = "train_classes", "drawn_classes"  # further columns of `trainings`
SIGNIFICANT = 0.05  # corrected p below which two arms differ
MARKER = "marker"  # level of `metrics`: a clinical marker on the same patients, named in the column `marker`
FOLD, FOLDS = "fold", "folds"  # levels of `metrics`: the value of each fold, and their mean and SD
SEEN = ("training", "validation")  # samples that trained or chose a network, scored apart
COHORTS = {keys.TEST: "sample", keys.TRAIN: "training", "val": "validation"}  # of published: our level
NO_COMPARISON = "not compared"  # family of a row that says why arms could not be compared
TEXTS = dict.fromkeys(("task", "arm", "protocol", "run", "error", "data", "of", "against", "fold"), str)


def exists(folder: Path) -> bool:
    """Return whether a folder holds results."""
    return all((folder / f"{name}.csv").is_file() for name in NAMES if name not in OPTIONAL)


def read(folder: Path) -> Tables:
    """Read results; of the pictures those whose files are there.

    Raises:
        ConfigError: The folder has none.
        DataError: A file is damaged.
    """
    if not exists(folder):
        raise ConfigError(f"{folder} has no results: run the study first, without rebuild=true.")
    found = {}
    for name in NAMES:
        path = folder / f"{name}.csv"
        if name in OPTIONAL and not path.is_file():
            found[name] = pd.DataFrame(columns=COLUMNS[name], dtype=str)
            continue
        try:
            found[name] = pd.read_csv(path, dtype=TEXTS, keep_default_na=False, na_values=[""])
        except ValueError as fault:
            raise DataError(f"{path} is damaged ({fault}): run the study again.") from fault
        without_arm = {"arm"} if name in SAME_FOR_ALL_ARMS else set()
        if lacking := set(COLUMNS[name]) - without_arm - set(found[name]):
            raise DataError(f"{path} lacks the columns {', '.join(sorted(lacking))}: run the study again.")
        texts = [column for column in TEXTS if column in found[name]]
        found[name][texts] = found[name][texts].fillna("")
    kept = [(folder / keys.FIGURES / file).is_file() for file in found[PICTURES]["file"]]
    found[PICTURES] = found[PICTURES][np.array(kept, bool)].reset_index(drop=True)
    return found


def published(study: Study) -> pd.DataFrame:
    """Return the published results of arms; none if the study has no such file.

    Returns:
        Columns arm, task, cohort (`COHORTS`), of (a class, or empty for all together), metric, where, value,
        low, high and sd (NaN where not printed); of several values of one quantity the first. A measure of
        all classes together has the name of ours by `published_as`.

    Raises:
        ConfigError: A number belongs to an arm that the study does not have.
        DataError: The file has faults, see `docs/checking.md`.
    """
    path = study.folder / PUBLISHED_FILE
    rows = reported_table.reported(reported_table.read(path)) if path.is_file() else []
    known = {*study.arms, *markers.MARKERS, ""}
    refuse(
        [
            f"{path}, line {row.line}: {unknown('arm', row.arm, known - {''})}"
            for row in rows
            if row.arm not in known
        ]
    )
    found = [
        (
            *(row.arm, row.task, row.cohort or keys.TEST, row.of_class),
            row.metric if row.of_class else study.published_as.get(row.metric, row.metric),
            row.where,
            *(np.nan if one is None else one.value for one in (row.value, row.low, row.high, row.sd)),
        )
        for row in rows
        if row.arm
        and row.cohort in ("", *COHORTS)
        and row.fold in ("", reported_table.MEAN)
        and not (row.predicted or row.against)
    ]
    table = pd.DataFrame(found, columns=[*QUANTITY, "where", "value", "low", "high", "sd"])
    return table.drop_duplicates(QUANTITY)


def published_cohort(study: Study) -> dict[str, dict[str, str]]:
    """Return the published characteristics of the patients: text by cohort and variable."""
    path = study.folder / PUBLISHED_FILE
    found: dict[str, dict[str, str]] = {}
    for row in reported_table.reported(reported_table.read(path)) if path.is_file() else []:
        if row.arm or not row.cohort or row.of_class or row.against:
            continue
        spread = f" ± {row.sd.text}" if row.sd else f" ({row.interval})" if row.interval else ""
        found.setdefault(row.cohort, {})[row.metric] = row.value.text + spread
    return found


def write(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write results, all files or none.

    Raises:
        StorageError: The folder cannot be written, or the disk is full.
    """
    make_folder(folder)
    put_all({folder / f"{name}.csv": as_csv(tables[name]) for name in NAMES})


def gathered(
    study: Study,
    places: Sequence[Place],
    composed: Mapping[Place, Training],
    runs: Mapping[Place, TrainedRun],
    failed: Mapping[Place, str],
    config: DictConfig,
) -> Tables:
    """Gather the results of finished runs.

    Args:
        study: The study.
        places: Places of all trainings.
        composed: Trainings by their places.
        runs: Finished runs.
        failed: Why the others have none.
        config: Settings with `bootstrap` and `tracking`.
    """
    own = {place: _is_own_network(study, place, composed) for place in places}
    uri = str(config.tracking.uri)
    rows = [_training(place, own[place], runs.get(place), failed.get(place, ""), uri) for place in places]
    each = {name: list[pd.DataFrame]() for name in OF_RUNS}
    for place, run in runs.items():
        if not study.arms[place.arm].shown:
            continue
        for name, table in _of_run(run, uri).items():
            each[name].append(_placed(table, place))
    found = {
        name: pd.concat([pd.DataFrame(columns=COLUMNS[name]), *tables], ignore_index=True)
        for name, tables in each.items()
    }
    first = found[COHORT].groupby(["protocol", "task", "seed"])["arm"].transform("first")
    found[COHORT] = found[COHORT][found[COHORT]["arm"] == first]  # others may have a few patients less
    for name, columns in SAME_FOR_ALL_ARMS.items():
        found[name] = found[name].drop_duplicates(["protocol", "task", "seed", *columns]).drop(columns="arm")
    return found | {
        "trainings": pd.DataFrame(rows),
        "comparisons": pd.concat(
            [pd.DataFrame(columns=COLUMNS["comparisons"]), *_comparisons(study, places, runs, config)],
            ignore_index=True,
        ),
    }


def _placed(table: pd.DataFrame, place: Place) -> pd.DataFrame:
    return table.assign(**place._asdict())[[*PLACE, *(name for name in table if name not in PLACE)]]


def _is_own_network(study: Study, place: Place, composed: Mapping[Place, Training]) -> bool:
    """Return whether a place, and each arm whose runs it needs, has the network of `size=full`."""
    arm = study.arms[place.arm]
    arms = [*([] if arm.stack else [place.arm]), *arm.needs]  # a regression has no network of its own
    return all(composed[place._replace(arm=name)].is_own_network for name in arms)


def _training(place: Place, own: bool, run: TrainedRun | None, error: str, uri: str) -> dict[str, Any]:
    """Return the row of a training."""
    row: dict[str, Any] = {
        **place._asdict(),
        "state": "finished" if run else "failed" if error else "missing",
        "own_network": own,
        "network": "",
        "data": run.data_name if run else "",
        "run": run.run_id if run else "",
        "error": error,
    }
    if run is None:
        return row
    parts = run.split[keys.PARTITION].value_counts()
    row |= {name: int(parts.get(name, 0)) for name in keys.PARTITIONS}
    tested = run.samples.loc[sorted(run.tested)]
    row["test_groups"] = tested[keys.GROUP_ID].nunique()
    row |= _classes(_trained(run, uri)[0])
    row["network"] = network(run)
    row["seconds"] = float(run.environment.get("seconds") or np.nan)
    return row


def _classes(run: TrainedRun) -> dict[str, str]:
    """Return the training samples of each class, and how many the sampler draws in its first epoch."""
    sampler = resolved(run.config).get("sampler")
    if not sampler or run.segments or "trainer" not in run.config:
        return {}
    from fibrolab.data.samplers import build_sampler  # late: it loads torch

    rows = run.samples[run.samples[keys.PARTITION] == keys.TRAIN]
    labels = rows[keys.Y_TRUE].to_numpy(np.int64)
    groups = rows[keys.GROUP_ID].to_numpy()
    order = build_sampler(labels=labels, groups=groups, seed=int(run.config.seed), **{"name": "", **sampler})
    drawn = labels[[index for _, index, _ in order]]
    counts = {TRAINED: labels, DRAWN: drawn}
    return {name: _counted(values, run.classes) for name, values in counts.items()}


def _counted(labels: np.ndarray, classes: Sequence[str]) -> str:
    """Return the number of each class, such as `F0 12, F1 8`."""
    numbers = np.bincount(labels, minlength=len(classes)).tolist()
    return ", ".join(f"{name} {number}" for name, number in zip(classes, numbers, strict=True))


def network(run: TrainedRun) -> str:
    """Describe the network of a run: backbones with their initial weights, and what is frozen."""
    model = resolved(run.config).get("model") or {}
    parts = []
    for branch in (model.get("branches") or {}).values():
        if not isinstance(branch, Mapping):
            continue
        weights = branch.get("weights") or ("" if branch.get("pretrained") else "random weights")
        weights = "weights of another run" if str(weights).startswith("run:") else weights and str(weights)
        frozen = branch.get("freeze") not in (None, "none", False)
        words = [str(branch.get("name")), *(["frozen"] if frozen else []), *([weights] if weights else [])]
        parts.append(words[0] if len(words) == 1 else f"{words[0]} ({', '.join(map(_short, words[1:]))})")
    return " + ".join(parts) or str(model.get("name", "regression"))


def _short(word: str) -> str:
    return Path(word).name if "/" in word else word


def _trained(run: TrainedRun, uri: str) -> list[TrainedRun]:
    """Return the runs of its networks: itself, or those of its folds."""
    if not run.has_several_networks:
        return [run]
    return [open_run(run_id, uri) for run_id in run.networks["run"]]


def _of_run(run: TrainedRun, uri: str) -> dict[str, pd.DataFrame]:
    """Return the tables of one run."""
    scored = [run.metrics.assign(level="sample")]
    if (run.folder / PATIENTS_FILE).is_file():
        scored.append(run.patient_metrics.assign(level="patient"))
    scored += [run.table(name).assign(level=name) for name in SEEN if (run.folder / f"{name}.csv").is_file()]
    if run.has_several_networks:
        scored.append(_by_fold(run.table("folds")))
    if (run.folder / "comparators.csv").is_file():
        scored.append(_of_markers(run.table("comparators")))
    found = {"metrics": pd.concat(scored)}
    curves = [each.history for each in _trained(run, uri) if (each.folder / keys.HISTORY_FILE).is_file()]
    if curves:
        found["history"] = pd.concat(curves)
    if (run.folder / keys.AUDIT_FILE).is_file():
        found["audit"] = pd.DataFrame(list(_findings(run.audit)), columns=COLUMNS["audit"][len(PLACE) :])
        found["baselines"] = pd.DataFrame(
            list(_baselines(run.audit)), columns=COLUMNS["baselines"][len(PLACE) :]
        )
    if (run.folder / "cohort.csv").is_file():
        found[COHORT] = run.table("cohort")
    if not run.segments:
        found["confusion"] = _confusion(run)
    return found


def _of_markers(table: pd.DataFrame) -> pd.DataFrame:
    """Return the measures of the clinical markers, at published and fitted cut-offs, as rows of `metrics`."""
    rows = table[table["marker"] != comparators.RUN]
    columns = ["marker", "endpoint", "rule", "cutoff", "metric", "value", "low", "high", "n"]
    return rows.reindex(columns=columns).assign(level=MARKER)


def _by_fold(table: pd.DataFrame) -> pd.DataFrame:
    """Return the measures of each fold of a run, and their mean and SD, as rows of `metrics`."""
    names = table["metric"] + ("_" + table["of"].fillna("")).where(table["of"].fillna("") != "", "")
    means = table[keys.FOLD].isna()
    folds = table[keys.FOLD].astype("Int64").astype("string").fillna("")
    rows = table[["value", "low", "high", "sd", "n"]]
    return rows.assign(metric=names, fold=folds, level=np.where(means, FOLDS, FOLD))


def _findings(audit: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    verdict = str(audit["verdict"])
    for one in audit.get("findings") or []:
        if one["level"] != "ok":
            yield verdict, str(one["level"]), str(one["key"]), str(one["sentence"])


def _baselines(audit: Mapping[str, Any]) -> Iterator[tuple[str, float, float, float]]:
    scores = (audit.get("protocols") or {}).get("run") or {}
    for name, value in (audit.get("baselines") or {}).items():
        ends = (scores.get(name) or {}).get("low"), (scores.get(name) or {}).get("high")
        low, high = (np.nan if end is None else float(end) for end in ends)
        yield str(name), float(value), low, high


def _confusion(run: TrainedRun) -> pd.DataFrame:
    """Count true and predicted classes of the test samples."""
    rows = run.predictions[run.predictions[keys.PARTITION] == keys.TEST]
    chosen = decide(predictions.probabilities(rows))
    names = np.array(run.classes, object)
    table = pd.crosstab(names[rows[keys.Y_TRUE].to_numpy()], names[chosen])
    table = table.reindex(index=run.classes, columns=run.classes, fill_value=0)
    return table.rename_axis(index="true").reset_index().melt("true", var_name="predicted", value_name="n")


def _comparisons(
    study: Study, places: Sequence[Place], runs: Mapping[Place, TrainedRun], config: DictConfig
) -> Iterator[pd.DataFrame]:
    """Compare the arms of each protocol and task."""
    for protocol, task in dict.fromkeys((place.protocol, place.task) for place in places):
        arms: dict[str, list[TrainedRun]] = {}
        for place, run in runs.items():
            arm = study.arms[place.arm]
            if (place.protocol, place.task) == (protocol, task) and arm.shown and not arm.masks_of:
                arms.setdefault(arm.name, []).append(run)
        try:
            table = _compared(study, arms, config) if len(arms) > 1 else None
        except FibrolabError as error:
            table = pd.DataFrame([{"family": NO_COMPARISON, "note": " ".join(str(error).split())}])
        if table is not None:
            yield table.assign(protocol=protocol, task=task)


def _compared(study: Study, arms: Mapping[str, list[TrainedRun]], config: DictConfig) -> pd.DataFrame:
    sides: list[Side] = [
        side(name, comparing.folds(each, config.tracking.uri)) for name, each in arms.items()
    ]
    refuse_other_patients(sides)
    given = {
        "unit": comparing.AUTO,
        "paired": True,
        "reference": study.reference if study.reference in (*arms, definition.ALL) else "",
        "seed": 0,
        "name": study.name,
        "bootstrap": resolved(config)["bootstrap"],
    }
    return comparing.compared(sides, task_of(sides), given).table
