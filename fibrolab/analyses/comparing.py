"""The command `compare`: read finished runs, test their differences, write the page, track the result."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from fibrolab import environment, keys
from fibrolab.analyses import segmentation_tables
from fibrolab.analyses.comparison_sides import (
    Side,
    refuse_other_patients,
    refuse_shared_patients,
    side,
    task_of,
)
from fibrolab.analyses.run_files import record
from fibrolab.choices import refuse, unknown
from fibrolab.command_line import flat
from fibrolab.config import resolved
from fibrolab.errors import ConfigError
from fibrolab.evaluation import patients
from fibrolab.evaluation.clinical import circularity, markers
from fibrolab.evaluation.comparison import comparison_table
from fibrolab.evaluation.comparison.arms import Arm, Task, arm_from_runs
from fibrolab.evaluation.comparison.mask_arms import arm_of_masks
from fibrolab.evaluation.intervals import bootstrap
from fibrolab.evaluation.predictions import is_crossed
from fibrolab.evaluation.segmentation.images import of_partition
from fibrolab.reporting import comparison_page as pages
from fibrolab.reporting.comparison_page import Comparison, Member
from fibrolab.runs.overlap import require_one_key
from fibrolab.runs.trained_run import NEEDED, TrainedRun, ids, named_twice, open_run
from fibrolab.storage import write_table
from fibrolab.tracking import SOURCE, track

AUTO, SAMPLE, PATIENT = "auto", "sample", "patient"
UNITS = (AUTO, SAMPLE, PATIENT)
NOT_COMPARED = ("paths", "tracking", "name", "hydra", "published", "learnt_from")  # settings
SHORT = 16  # longest text [letters] of a setting that may name an arm
COMPARED = "fibrolab.compared"  # tag: ids of the runs


def run(config: DictConfig) -> str:
    """Compare runs in a new run that holds a page, a table and figures.

    Args:
        config: `conf/compare.yaml`, composed.

    Returns:
        Id of the new run.

    Raises:
        ConfigError: Settings out of range, unknown runs, or runs that cannot be compared.
        DataError: Predictions of a run are damaged.
    """
    started, given = datetime.now(UTC), resolved(config)
    requested = _checked(given)
    read_runs = [[_opened(run_id, config.tracking.uri) for run_id in run_ids] for _, run_ids in requested]
    names = _named([name for name, _ in requested], read_runs)
    sides = [
        side(name, folds(runs, config.tracking.uri)) for name, runs in zip(names, read_runs, strict=True)
    ]
    if given["reference"] and given["reference"] not in (*names, comparison_table.ALL):
        refuse([unknown("reference", given["reference"], names)])
    if given["paired"]:
        require_one_key([each for side in sides for each in side.runs])
    task = task_of(sides)
    (refuse_other_patients if given["paired"] else refuse_shared_patients)(sides)
    comparison = compared(sides, task, given)
    tags = {
        COMPARED: ",".join(run_id for _, run_ids in requested for run_id in run_ids),
        "arms": ", ".join(names),
    }
    with track(**given["tracking"], name=config.name, tags=tags | {SOURCE: "fibrolab.compare"}) as tracked:
        known = environment.describe() | {"started": started.isoformat(timespec="seconds")}
        record(tracked, config, given, known)
        write_table(comparison.table, tracked.folder / pages.TABLE_FILE)
        page = pages.write(tracked.folder, comparison, known)
        tracked.log_metrics(pages.summary(comparison))
        pages.announce(comparison)
        print(f"page     {page}\ntable    {tracked.folder / pages.TABLE_FILE}\nrun      {tracked.id}")
    return tracked.id


def _opened(run_id: str, uri: str) -> TrainedRun:
    """Open a run that classifies samples or segments images."""
    run = open_run(run_id, uri)
    run.require(*(segmentation_tables.NEEDED if run.segments else NEEDED))
    return run


def folds(runs: Sequence[TrainedRun], uri: str) -> Sequence[TrainedRun]:
    """Return the folds of a cross-validation if it is an arm's only run, so that they can be paired.

    Other runs of several networks predict each test sample once by all of them, as one network does; so do
    several cross-validations, which are seeds.
    """
    if len(runs) > 1 or not runs[0].has_several_networks:
        return runs
    if not runs[0].segments and not is_crossed(runs[0].network_predictions):
        return runs
    networks = runs[0].networks
    if networks[keys.REPEAT].nunique() > 1:
        return runs
    return [_opened(run_id, uri) for run_id in networks["run"]]


def compared(sides: Sequence[Side], task: Task, given: Mapping[str, Any]) -> Comparison:
    """Compute everything that the page shows from the predictions of the runs.

    Args:
        sides: Arms that can be compared.
        task: Their classes and end points.
        given: Settings with `unit`, `paired`, `reference`, `seed`, `name` and `bootstrap`.

    Raises:
        ConfigError: unit=patient, but no patient has several samples.
    """
    several = any(_repeated(each) for side in sides for each in side.runs)
    if given["unit"] == PATIENT and not several:
        of = "" if task.unit else " of one stage"
        raise ConfigError(f"unit=patient: no patient has several test samples{of}; use unit=auto.")
    levels = [given["unit"]]
    if given["unit"] == AUTO:
        levels = [PATIENT, SAMPLE] if several else [SAMPLE]
    tables, arms_of = [], {}
    for level in levels:
        by_patient = level == PATIENT
        arms = [_arm(side, task, by_patient) for side in sides]
        if given["paired"] and (by_patient or not several):
            arms += _markers(sides[0], arms[0], task)
        how = {name: given[name] for name in ("reference", "paired", "seed")}
        size = {"resamples": given["bootstrap"]["resamples"], "level": given["bootstrap"]["level"]}
        tables.append(comparison_table.table(arms, task, level, **how, **size))
        arms_of[level] = arms
    return Comparison(
        name=given["name"],
        table=pd.concat(tables, ignore_index=True),
        arms=arms_of,
        task=task,
        members=[_member(each) for each in sides],
        settings=differing({each.name: each.runs for each in sides}),
        units=_units(sides),
        paired=given["paired"],
        resamples=given["bootstrap"]["resamples"],
        level=given["bootstrap"]["level"],
    )


def _repeated(run: TrainedRun) -> bool:
    """Return whether some test patient has several samples, of a classification of one stage."""
    if not run.segments:
        return patients.repeated(run.predictions)
    rows = of_partition(run.mask_measures, keys.TEST).drop_duplicates(keys.SAMPLE_ID)
    return bool(rows.loc[rows[keys.PATIENT_ID] != "", keys.PATIENT_ID].duplicated().any())


def _arm(side: Side, task: Task, by_patient: bool) -> Arm:
    if task.unit:
        tables = [each.mask_measures for each in side.runs]
        arm = arm_of_masks(side.name, tables, task, by_patient, side.folds)
    else:
        frames = [each.predictions for each in side.runs]
        arm = arm_from_runs(side.name, frames, task, by_patient, side.folds)
    return replace(arm, sizes=side.sizes) if side.folds else arm


def _markers(side: Side, like: Arm, task: Task) -> list[Arm]:
    """Return stiffness, APRI and FIB-4 of the same patients, where the first arm's manifest has them."""
    if not task.ordered or not task.endpoints:
        return []
    tested = []
    for each in side.runs if side.folds else side.runs[:1]:
        rows = each.predictions[each.predictions[keys.PARTITION] == keys.TEST].sort_values(keys.SAMPLE_ID)
        tested.append(markers.of_patients(rows, each.samples))
    values = pd.concat(tested).set_index(keys.SAMPLE_ID).loc[like.samples]
    expected = [name for name in markers.expected(side.runs[0].samples) if values[name].notna().any()]
    label_from = str(side.runs[0].config.data.get("label_from") or "")
    labels = {name: markers.MARKERS[name].label for name in expected}
    labels |= {
        name: f"{label} (circular)"
        for name, label in labels.items()
        if circularity.stated(markers.MARKERS[name].needs, label_from)
    }
    return [comparison_table.marker(labels[name], values[name].to_numpy(), like, task) for name in expected]


def differing(arms: Mapping[str, Sequence[TrainedRun]]) -> pd.DataFrame:
    """Return the settings that differ between arms as texts, one row a setting, one column an arm."""
    columns = {}
    for arm, runs in arms.items():
        found = [
            flat({name: part for name, part in resolved(one.config).items() if name not in NOT_COMPARED})
            for one in runs
        ]
        names = dict.fromkeys(name for settings in found for name in settings)
        columns[arm] = {
            name: ", ".join(dict.fromkeys(str(settings.get(name, "–")) for settings in found))
            for name in names
        }
    table = pd.DataFrame(columns).fillna("–")
    return table[table.nunique(axis=1) > 1].sort_index()


def _member(side: Side) -> Member:
    """Return the page's description of an arm, with the most serious audit of its runs."""
    audit = max((each.audit for each in side.runs), key=lambda found: keys.VERDICTS.index(found["verdict"]))
    sentences = [
        str(each["sentence"]) for each in audit.get("findings") or [] if each.get("level") == audit["verdict"]
    ]
    first = side.runs[0].config
    return Member(
        name=side.name,
        kind=side.kind,
        runs=tuple(each.run_id for each in side.runs),
        model=str(first.model.name),
        data=str(first.data.name),
        split=str(first.split.name),
        verdict=audit["verdict"],
        findings=tuple(sentences or map(str, audit.get("warnings") or [])),
    )


def _units(sides: Sequence[Side]) -> str:
    """Return the name of the independent units: patients, or groups where some patient is not known."""
    runs = [each for side in sides for each in side.runs]
    tested = pd.concat([each.mask_measures if each.segments else each.predictions for each in runs])
    tested = tested[tested[keys.PARTITION] == keys.TEST]
    return "patients" if (tested[keys.PATIENT_ID] != "").all() else "groups"


def _checked(given: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Check the settings; return name and run ids of each arm, the name empty where none was given."""
    runs, unit = given["runs"], given["unit"]
    arms = (
        [(str(name), ids(of)) for name, of in runs.items()]
        if isinstance(runs, dict)
        else [("", [run_id]) for run_id in ids(runs)]
    )
    faults = named_twice(run_id for _, of in arms for run_id in of)
    if len(arms) < 2 or not all(of for _, of in arms):
        faults.append(
            f"runs={runs} names {len([of for _, of in arms if of])} arms with runs; give two or more, such "
            "as runs=[ID,ID] or, for several seeds or folds of each, "
            "'runs={resnet: [ID,ID], hybrid: [ID,ID]}'."
        )
    if unit not in UNITS:
        faults.append(unknown("unit", unit, UNITS))
    refuse(faults)
    bootstrap.check(given["bootstrap"]["resamples"], given["bootstrap"]["level"])
    return arms


def _named(given: Sequence[str], runs: Sequence[Sequence[TrainedRun]]) -> list[str]:
    """Name each arm as given, otherwise by model, run name, differing settings, or run id."""
    if all(given):
        return list(given)
    firsts = [of[0] for of in runs]
    candidates = (
        [str(each.config.model.name) for each in firsts],
        [str(each.config.get("name", "")) for each in firsts],
        _named_by_settings(firsts),
        [f"{each.config.model.name} {each.run_id[:6]}" for each in firsts],
    )
    return next(
        (names for names in candidates if len(set(names)) == len(firsts)), [each.run_id for each in firsts]
    )


def _named_by_settings(runs: Sequence[TrainedRun]) -> list[str]:
    """Return names such as `lr 0.003` where one or two short settings differ; otherwise none.

    Where runs take different files of a group, such as two losses, the file's name replaces its settings.
    """
    table = differing({str(number): [each] for number, each in enumerate(runs)})
    groups = tuple(name.removesuffix("name") for name in map(str, table.index) if name.endswith(".name"))
    naming = [name for name in map(str, table.index) if name.endswith(".name") or not name.startswith(groups)]
    if not 0 < len(naming) <= 2 or table.loc[naming].map(len).to_numpy().max() > SHORT:
        return []
    words = [name.removesuffix(".name").rpartition(".")[2].replace("_", " ") for name in naming]
    return [
        ", ".join(f"{word} {value}" for word, value in zip(words, table.loc[naming, column], strict=True))
        for column in table.columns
    ]
