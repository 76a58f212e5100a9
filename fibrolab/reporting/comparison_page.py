"""The page of a comparison: audits, results in words, tables, figures and differences in settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fibrolab import keys
from fibrolab.reporting import html, numbers
from fibrolab.reporting.comparison_sentences import (
    Comparison,
    Member,
    bounded,
    cautions,
    leading,
    measure,
    verdicts,
)
from fibrolab.reporting.figures import comparison as figures
from fibrolab.reporting.figures.style import save
from fibrolab.reporting.run_sentences import VERDICT_TEXTS
from fibrolab.reporting.tables import comparison as sheets
from fibrolab.reporting.tables import table_files
from fibrolab.storage import put

__all__ = ["PAGE_FILE", "TABLE_FILE", "Comparison", "Member", "announce", "summary", "write"]
PAGE_FILE, TABLE_FILE = "comparison.html", "comparison.csv"
TITLES = {
    "audits": "Audits",
    "verdict": "Which arm is better",
    "headline": "Main measures",
    "endpoints": "End points",
    "classes": "Results by class",
    "folds": "Results by fold",
    "settings": "Settings that differ",
    "runs": "Runs compared",
}


def write(folder: Path, comparison: Comparison, environment: Mapping[str, Any]) -> Path:
    """Write the figures, tables and page of a comparison.

    Args:
        folder: Folder for all files.
        comparison: The comparison.
        environment: Environment of this command: `command`, `git_commit` and `started`.

    Returns:
        The page, ``comparison.html`` in that folder, beside the folders ``figures`` and ``tables``.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    for name in figures.names(comparison):
        save(getattr(figures, name)(comparison), folder / keys.FIGURES / f"{name}.png")
    found = sheets.of(comparison)
    for sheet in (sheet for levels in found.values() for group in levels.values() for sheet in group):
        table_files.save(sheet, folder / table_files.FOLDER)
    return put(
        folder / PAGE_FILE,
        html.render("comparison.html.j2", _content(folder, comparison, found, environment)),
    )


def _content(
    folder: Path, comparison: Comparison, found: Mapping[str, Any], environment: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all values that the template shows."""
    gravest = max((each.verdict for each in comparison.members), key=keys.VERDICTS.index)
    first = next(iter(comparison.arms))
    size = comparison.arms[first][0]
    return {
        "name": comparison.name,
        "lead": _lead(comparison, len(size.labels), len(set(size.groups)), first),
        "gravest": gravest,
        "audits": [(each, VERDICT_TEXTS[each.verdict]) for each in comparison.members],
        "findings": list(cautions(comparison)),
        "verdicts": verdicts(comparison),
        "sections": found,
        "titles": {
            name: title for name, title in TITLES.items() if name in found or name not in sheets.SECTIONS
        },
        "settings": sheets.settings(comparison),
        "members": sheets.members(comparison),
        "figures": html.pictures(
            folder / keys.FIGURES,
            figures.CAPTIONS.__getitem__,
            lambda name: " ".join([figures.CAPTIONS[name], *(each.text for each in verdicts(comparison))]),
        ),
        "facts": {
            "Bootstrap resamples": f"{comparison.resamples:,}",
            "Confidence level": numbers.percent(comparison.level),
            "Started": str(environment.get("started") or html.NOT_RECORDED),
            "Git commit": str(environment.get("git_commit") or html.NOT_RECORDED),
        },
        "command": str(environment.get("command") or ""),
        "table_file": TABLE_FILE,
        "tables_folder": table_files.FOLDER,
    }


def _lead(comparison: Comparison, rows: int, groups: int, level: str) -> str:
    names = ", ".join(each.name for each in comparison.members)
    if not comparison.paired:
        return f"{names}, each on its own cohort."
    unit = "patients" if level == "patient" else "samples"
    return f"{names}, on the same {rows:,} test {unit} in {groups:,} groups."


def summary(comparison: Comparison) -> dict[str, float]:
    """Return the values of the leading measures by name, such as ``accuracy/hybrid minus resnet``."""
    found = {}
    for row in leading(comparison):
        side = f"{row['arm']} minus {row['against']}" if row["against"] else row["arm"]
        metric = f"{row['metric']}_{row['of']}" if row["of"] else row["metric"]
        name = f"{metric}/{side}"
        found[name] = float(row["value"])
        if row["against"]:
            found |= {f"{name} {part}": float(row[part]) for part in ("low", "high", "p_holm")}
    return found


def announce(comparison: Comparison) -> None:
    """Print a table of the arms, and a sentence on each difference."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    level = next(iter(comparison.arms))
    rows = [row for row in leading(comparison) if not row["against"]]
    columns = list(dict.fromkeys(measure(row, comparison.task) for row in rows))
    table = Table(title=f"Test, by {level}", title_justify="left", title_style="bold")
    table.add_column("arm")
    for column in columns:
        table.add_column(column, justify="right")
    for arm in dict.fromkeys(row["arm"] for row in rows):
        cells = [bounded(each) for each in rows if each["arm"] == arm]
        table.add_row(*map(Text, [arm, *cells]))  # Text: no markup is read
    console = Console(soft_wrap=True)
    console.print(table)
    for each in (each for each in cautions(comparison) if each.grave):
        console.print(Text(each.text, style="bold red"))
    for sentence in verdicts(comparison):
        console.print(Text(sentence.text, style="green" if sentence.significant else ""))
