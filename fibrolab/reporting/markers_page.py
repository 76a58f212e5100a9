"""The page of scored markers: cautions, areas, cut-offs, comparison and the patients."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fibrolab import keys
from fibrolab.reporting import html, numbers
from fibrolab.reporting.comparison_sentences import bounded
from fibrolab.reporting.figures import markers as figures
from fibrolab.reporting.figures.style import save
from fibrolab.reporting.marker_sentences import CIRCULAR, Scoring, cautions, lead, verdicts
from fibrolab.reporting.tables import markers as sheets
from fibrolab.reporting.tables import table_files
from fibrolab.reporting.vocabulary import records
from fibrolab.storage import put

PAGE_FILE, TABLE_FILE, DIFFERENCES_FILE = "markers.html", "markers.csv", "marker_differences.csv"
FIGURE = "roc_of_markers"
TITLES = {
    "areas": "How well each marker detects the end points",
    "comparison": "Which marker is better",
    "cutoffs": "Cut-offs",
    "patients": "Patients",
    "reproduce": "Reproduction",
}


def write(folder: Path, scoring: Scoring, environment: Mapping[str, Any]) -> Path:
    """Write the figure, tables and page of scored markers.

    Args:
        folder: Folder for all files.
        scoring: The scored markers.
        environment: Environment of this command: `command`, `git_commit` and `started`.

    Returns:
        The page, ``markers.html`` in that folder, beside the folders ``figures`` and ``tables``.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    save(figures.roc_of_markers(scoring), folder / keys.FIGURES / f"{FIGURE}.png")
    tables = {
        "areas": [sheets.areas(scoring)],
        "comparison": [sheets.differences(scoring)],
        "cutoffs": sheets.cutoffs(scoring),
        "patients": [sheets.by_class(scoring), sheets.cohort(scoring)],
    }
    for sheet in (sheet for group in tables.values() for sheet in group if sheet.lines):
        table_files.save(sheet, folder / table_files.FOLDER)
    content = {
        "name": scoring.name,
        "lead": lead(scoring),
        "cautions": cautions(scoring),
        "verdicts": verdicts(scoring),
        "titles": TITLES,
        "tables": tables,
        "figure_of_markers": html.pictures(folder / keys.FIGURES, lambda _: figures.CAPTION).get(FIGURE),
        "facts": {
            "Confidence level": numbers.percent(scoring.level),
            "Folds of the cut-offs": str(scoring.folds),
            "Started": str(environment.get("started") or html.NOT_RECORDED),
            "Git commit": str(environment.get("git_commit") or html.NOT_RECORDED),
        },
        "command": str(environment.get("command") or ""),
        "files": f"{TABLE_FILE} and {DIFFERENCES_FILE}",
        "tables_folder": table_files.FOLDER,
    }
    return put(folder / PAGE_FILE, html.render("markers.html.j2", content))


def summary(scoring: Scoring) -> dict[str, float]:
    """Return the areas by name, such as ``auc_F4/fib4``; the name of a circular one says so."""
    rows = records(scoring.table[scoring.table["metric"] == "auc"])
    words = {True: f" {CIRCULAR}", False: ""}
    return {
        f"auc_{row['endpoint']}/{row['marker']}{words[row['circular']]}": float(row["value"]) for row in rows
    }


def announce(scoring: Scoring) -> None:
    """Print a table of the areas, the cautions, and a sentence on each difference."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(records(scoring.table[scoring.table["metric"] == "auc"]))
    table = Table(title=f"AUC, {numbers.percent(scoring.level)} CI", title_justify="left", title_style="bold")
    table.add_column("marker")
    for name in ("n", *map(scoring.end_point, scoring.endpoints)):
        table.add_column(name, justify="right")
    for marker in scoring.markers:
        own = [row for row in rows if row["marker"] == marker.name]
        note = f" {CIRCULAR}" if marker.name in scoring.circular else ""
        cells = [scoring.label(marker.name), f"{own[0]['n']:,}", *(f"{bounded(row)}{note}" for row in own)]
        table.add_row(*map(Text, cells))  # Text: no markup is read
    console = Console(soft_wrap=True)
    console.print(table)
    for each in cautions(scoring):
        console.print(Text(f"! {each.text}", style="bold red" if each.grave else "yellow"))
    for sentence in verdicts(scoring):
        console.print(Text(sentence.text, style="green" if sentence.significant else ""))
