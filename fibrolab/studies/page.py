"""The page of a study, from its results alone: verdict, tables, differences, learning curves, audit."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fibrolab import keys
from fibrolab.reporting import html, numbers
from fibrolab.reporting.figures import picture_grid
from fibrolab.reporting.figures import study as figures
from fibrolab.reporting.figures.style import save
from fibrolab.reporting.tables import table_files
from fibrolab.storage import put
from fibrolab.studies import published_sheets, verdict
from fibrolab.studies import result_sheets as sheets
from fibrolab.studies.definition import Study
from fibrolab.studies.parts import Part, parts
from fibrolab.studies.results import SIGNIFICANT, Tables

PAGE_FILE = "study.html"
PROTOCOLS = "protocols"  # figure of all protocols together
CAPTIONS = {
    PROTOCOLS: "Accuracy on the test samples with 95 % confidence intervals: networks filled, baselines "
    "without a network hollow.",
    "differences": "Differences between arms with 95 % confidence intervals; filled where the corrected p is "
    "below .05.",
    "curves": "Loss and accuracy by epoch, mean over the trainings of an arm.",
}
SHEETS = (  # of one protocol and task; the page folds all but the first two
    sheets.cohort, sheets.arms, sheets.differences, sheets.markers, sheets.beside_markers, sheets.folds,
    sheets.classes, sheets.confusion, sheets.variance, sheets.seen, sheets.balance, published_sheets.reported,
)  # fmt: skip


def write(study: Study, size: str, tables: Tables, folder: Path) -> Path:
    """Write the figures, the tables as CSV and LaTeX, and the page of a study.

    Args:
        study: The study.
        size: Size of the results.
        tables: The results.
        folder: Folder of the results.

    Returns:
        The page, ``study.html`` in that folder.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    found, place = parts(study, size, tables), folder / keys.FIGURES
    if (accuracies := sheets.accuracies(found)) is not None:
        save(figures.protocols(accuracies), place / f"{PROTOCOLS}.png")
    sections = [_section(part, number, place) for number, part in enumerate(found, 1)]
    published = [published_sheets.apart(study, tables, whole=True), published_sheets.related(study)]
    for sheet in [*(sheet for section in sections for sheet in section["sheets"]), *published]:
        if sheet.lines:
            table_files.save(sheet, folder / table_files.FOLDER)
    content = {
        "name": study.title,
        "source": study.source,
        "lead": f"Results at size={size}: {verdict.trained(tables)}",
        "verdict": list(verdict.sentences(study, size, tables)),
        "protocols": None if accuracies is None else PROTOCOLS,
        "sections": sections,
        "published": [sheet for sheet in published if sheet.lines],
        "figures": html.pictures(place, lambda name: CAPTIONS[name.partition("_")[0]]),
        "tables_folder": table_files.FOLDER,
    }
    return put(folder / PAGE_FILE, html.render("study.html.j2", content))


def _section(part: Part, number: int, place: Path) -> dict[str, Any]:
    """Draw the figures of one protocol and task, and return what the page shows of it."""
    drawn: dict[str, tuple[Callable[[pd.DataFrame], Figure], pd.DataFrame | None]] = {
        f"differences_{number}": (figures.differences, _differences(part)),
        f"curves_{number}": (figures.curves, _history(part)),
    }
    for name, (draw, table) in drawn.items():
        if table is not None:
            save(draw(table), place / f"{name}.png")
    audit = part.tables["audit"].drop_duplicates("key")
    return {
        "number": number,
        "title": part.title,
        "leaks": part.study.protocols[part.protocol].leaks,
        "sheets": [make(part) for make in SHEETS],
        "figures": list(drawn),
        "pictures": [html.printed(place / file, picture_grid.DPI, words) for file, words in part.pictures],
        "findings": list(map(str, audit["sentence"])),
        "verdict": str(audit["verdict"].iloc[0]) if len(audit) else "",
    }


def _differences(part: Part) -> pd.DataFrame | None:
    """Return the differences as the figure takes them; None without any."""
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
    """Return the learning curves as the figure takes them; None without any."""
    table = part.tables["history"]
    if table.empty or "train/loss" not in table:  # a protocol may have no validation
        return None
    return table.assign(arm=[part.label(arm) for arm in table["arm"]])
