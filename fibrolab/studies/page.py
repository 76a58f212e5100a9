"""The page of a study, from its results alone."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fibrolab.reporting import numbers, study_page
from fibrolab.reporting.study_page import Section
from fibrolab.studies import published_sheets, readme, verdict
from fibrolab.studies import result_sheets as sheets
from fibrolab.studies.definition import Study
from fibrolab.studies.parts import Part, parts
from fibrolab.studies.results import SIGNIFICANT, Tables

SHEETS = (
    sheets.cohort, sheets.arms, sheets.differences, sheets.markers, sheets.beside_markers, sheets.folds,
    sheets.classes, sheets.confusion, sheets.variance, sheets.seen, sheets.balance, published_sheets.reported,
)  # fmt: skip


def write(study: Study, size: str, tables: Tables, folder: Path) -> Path:
    """Write the page of a study into the folder of its results, with its figures and tables.

    Args:
        study: The study.
        size: Size of the results.
        tables: The results.
        folder: Folder of the results.

    Returns:
        Path of the page.
    """
    found = parts(study, size, tables)
    return study_page.write(
        folder,
        study.title,
        study.source,
        f"Results at size={size}: {readme.trained(tables)}",
        list(verdict.sentences(study, size, tables)),
        sheets.accuracies(found),
        [_section(part) for part in found],
        [published_sheets.apart(study, tables, whole=True), published_sheets.related(study)],
    )


def _section(part: Part) -> Section:
    audit = part.tables["audit"].drop_duplicates("key")
    return Section(
        title=part.title,
        leaks=part.study.protocols[part.protocol].leaks,
        sheets=[make(part) for make in SHEETS],
        findings=list(map(str, audit["sentence"])),
        verdict=str(audit["verdict"].iloc[0]) if len(audit) else "",
        differences=_differences(part),
        history=_history(part),
        pictures=part.pictures,
    )


def _differences(part: Part) -> pd.DataFrame | None:
    rows = part.differences
    if rows.empty:
        return None
    pairs: Sequence[str] = [
        f"{part.label(arm)} {numbers.MINUS} {part.label(other)}"
        for arm, other in rows[["arm", "against"]].to_numpy().tolist()
    ]
    columns = rows[["metric", "value", "low", "high"]].astype(
        {name: float for name in ("value", "low", "high")}
    )
    return columns.assign(pair=pairs, found=rows["p_holm"].astype(float) < SIGNIFICANT)


def _history(part: Part) -> pd.DataFrame | None:
    table = part.tables["history"]
    if table.empty or "train/loss" not in table:  # a protocol may have no validation
        return None
    return table.assign(arm=[part.label(arm) for arm in table["arm"]])
