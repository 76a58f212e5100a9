"""The command `markers`: score markers of a table at end points, write the page, track the result."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from omegaconf import DictConfig

from fibrolab import environment, keys
from fibrolab.analyses.run_files import record
from fibrolab.choices import refuse, unknown
from fibrolab.config import resolved
from fibrolab.data import visits
from fibrolab.data.labelled_data import labels_under
from fibrolab.data.manifest import Manifest
from fibrolab.data.requirements import MARKERS
from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation import endpoints
from fibrolab.evaluation.clinical import cohort, marker_scores, markers
from fibrolab.evaluation.clinical.marker_scores import ScoredMarker
from fibrolab.loading import load_without_pictures
from fibrolab.mask_classes import of_task
from fibrolab.reporting import markers_page as pages
from fibrolab.reporting.marker_sentences import Scoring
from fibrolab.storage import write_table
from fibrolab.tracking import SOURCE, track

CIRCULAR = "fibrolab.circular"  # tag: markers from which the label was made


def run(config: DictConfig) -> str:
    """Score markers in a new run that holds a page, tables and a figure.

    Args:
        config: `conf/markers.yaml`, composed.

    Returns:
        Id of the new run.

    Raises:
        ConfigError: Settings are wrong, a marker is unknown, or the task has no end point.
        DataError: The data have faults, no marker, or rows of a patient that disagree.
    """
    started, given = datetime.now(UTC), resolved(config)
    manifest = load_without_pictures(config, MARKERS)
    scoring = scored(manifest, config, given)
    tags = {SOURCE: "fibrolab.markers", CIRCULAR: ", ".join(scoring.circular) or "none"}
    with track(**given["tracking"], name=config.name, tags=tags) as tracked:
        known = environment.describe() | {"started": started.isoformat(timespec="seconds")}
        record(tracked, config, given, known)
        tracked.log_data(manifest.name, manifest.hash, "test")
        write_table(scoring.table, tracked.folder / pages.TABLE_FILE)
        write_table(scoring.differences, tracked.folder / pages.DIFFERENCES_FILE)
        page = pages.write(tracked.folder, scoring, known)
        tracked.log_metrics(pages.summary(scoring))
        pages.announce(scoring)
        print(f"page     {page}\ntable    {tracked.folder / pages.TABLE_FILE}\nrun      {tracked.id}")
    return tracked.id


def scored(manifest: Manifest, config: DictConfig, given: Mapping[str, Any]) -> Scoring:
    """Compute everything that the page shows.

    Args:
        manifest: The samples; of one patient and visit they agree.
        config: Settings with `task`.
        given: The same settings, resolved.

    Raises:
        ConfigError: As `run`.
        DataError: As `run`.
    """
    classes, lowest, labels = _end_points(manifest, config.task, given["task"]["endpoints"])
    columns = visits.numeric_columns(manifest)
    label_from = str(given["data"].get("label_from") or "")
    if label_from and label_from not in {*markers.MARKERS, *columns}:
        refuse([unknown("data.label_from", label_from, {*markers.MARKERS, *columns})])
    chosen, lacking = _chosen(manifest, given["markers"], columns)
    needed = dict.fromkeys(column for marker in chosen for column in marker.columns)
    labelled = replace(manifest, table=manifest.table.assign(**{keys.Y_TRUE: labels}))
    rows = visits.table(labelled, list(needed))
    truth = rows[keys.Y_TRUE].to_numpy(np.int64)
    cases = marker_scores.cases(truth, classes, lowest)
    circular = marker_scores.circular(chosen, rows, cases, label_from)
    folds, seed, level = given["cutoffs"]["folds"], given["seed"], given["level"]
    everyone = rows.set_index(keys.SAMPLE_ID).assign(**{keys.PARTITION: keys.TEST})
    return Scoring(
        name=given["name"],
        data=manifest.name,
        classes=classes,
        endpoints=lowest,
        markers=chosen,
        lacking=lacking,
        label_from=label_from,
        circular=circular,
        rows=rows,
        cases=cases,
        table=marker_scores.table(chosen, rows, cases, circular, folds, seed, level),
        differences=marker_scores.differences(chosen, rows, cases, circular, level),
        by_class=marker_scores.by_class(chosen, rows, truth, classes),
        cohort=cohort.table(everyone, classes),
        folds=folds,
        level=level,
    )


def _end_points(
    manifest: Manifest, task: DictConfig, named: Mapping[str, int]
) -> tuple[list[str], dict[str, int], np.ndarray]:
    """Return classes and end points of the task, and the class of every sample, int64 (N,)."""
    if of_task(task):
        raise ConfigError(
            f"task={task.name} classifies pixels: markers are scored at end points, such as task=F4."
        )
    labels = labels_under(task.name, task.of, task.merge, manifest)
    classes = list(map(str, task.classes or manifest.classes))
    if task.of is None and len(classes) != len(manifest.classes):
        raise ConfigError(
            f"task.classes names {len(classes)} classes, and '{manifest.name}' has {len(manifest.classes)}: "
            f"{', '.join(manifest.classes)}."
        )
    lowest = endpoints.of_task(classes, named, task.ordered)
    if len(classes) > 2:
        endpoints.check(lowest, classes, task.ordered)
    if not lowest:
        raise ConfigError(
            f"task={task.name} has no end point for the classes {', '.join(classes)}: markers are scored at "
            "end points, such as those of task=F4 and task=stage."
        )
    return classes, lowest, labels


def _chosen(manifest: Manifest, named: Any, columns: Sequence[str]) -> tuple[list[ScoredMarker], list[str]]:
    """Return the markers to score, and a sentence on each that the data indicate but do not suffice for."""
    if named is not None:
        names = named if isinstance(named, list) else [named]
        found = marker_scores.named([str(name) for name in names], columns)
        refuse([_lack(each.name, manifest) for each in found if not _is_known(each, manifest)])
        return found, []
    expected = marker_scores.named(markers.expected(manifest.table), columns)
    found = [each for each in expected if _is_known(each, manifest)]
    if not found:
        needs = "; ".join(f"{each.label} needs {', '.join(each.needs)}" for each in markers.MARKERS.values())
        others = f" Its columns of numbers are {', '.join(columns)}." if columns else ""
        raise DataError(
            f"'{manifest.name}' has no marker to score: {needs}.{others} Name columns of the table by "
            "data.columns, or score others by markers=[NAME]."
        )
    return found, [_lack(each.name, manifest) for each in expected if each not in found]


def _is_known(marker: ScoredMarker, manifest: Manifest) -> bool:
    """Return whether some sample has the marker, or may have it once the rows of its visit are pooled."""
    given = markers.MARKERS[marker.name].needs if marker.name in markers.MARKERS else ()
    return all(column in manifest.table and manifest.table[column].notna().any() for column in given)


def _lack(name: str, manifest: Manifest) -> str:
    """Return a sentence on the columns of a marker that have no value."""
    marker, table = markers.MARKERS[name], manifest.table
    empty = [c for c in marker.needs if c not in table or not table[c].notna().any()]
    hint = " (your laboratory's upper limit of normal)" if keys.AST_ULN_U_L in empty else ""
    return (
        f"{marker.label} is not scored: it needs {' and '.join(empty)}{hint}, which '{manifest.name}' lacks."
    )
