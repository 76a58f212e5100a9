"""The page of a comparison: audits first, then who is better in words, tables, figures and what differed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fibrolab import keys
from fibrolab.reporting import export, html, numbers
from fibrolab.reporting.comparison_words import Comparison, Member, bounded, leading, measure, verdicts
from fibrolab.reporting.figures import comparison as figures
from fibrolab.reporting.figures.style import save
from fibrolab.reporting.findings import FAIL, VERDICTS, Finding
from fibrolab.reporting.tables import comparison as sheets
from fibrolab.storage import put

__all__ = ["PAGE_FILE", "TABLE_FILE", "Comparison", "Member", "announce", "summary", "write"]
PAGE_FILE, TABLE_FILE = "comparison.html", "comparison.csv"
FEW = 30  # groups below which bootstrap intervals are too narrow
TITLES = {
    "audits": "Audits",
    "verdict": "Which arm is better",
    "headline": "Main measures",
    "endpoints": "End points",
    "classes": "Class by class",
    "folds": "Fold by fold",
    "settings": "Settings that differ",
    "runs": "What was compared",
}


def write(folder: Path, comparison: Comparison, environment: Mapping[str, Any]) -> Path:
    """Write figures, tables and page.

    Args:
        folder: Where they go.
        comparison: What they show.
        environment: What it was made with: `command`, `git_commit` and `started`.

    Returns:
        The page, ``comparison.html`` in that folder; beside it lie ``figures`` and ``tables``.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    for name in figures.names(comparison):
        save(getattr(figures, name)(comparison), folder / keys.FIGURES / f"{name}.png")
    found = sheets.of(comparison)
    for sheet in (sheet for levels in found.values() for group in levels.values() for sheet in group):
        export.save(sheet, folder / export.FOLDER)
    return put(
        folder / PAGE_FILE,
        html.render("comparison.html.j2", _content(folder, comparison, found, environment)),
    )


def _content(
    folder: Path, comparison: Comparison, found: Mapping[str, Any], environment: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that the template shows."""
    gravest = max((each.verdict for each in comparison.members), key=keys.GRAVITY.index)
    first = next(iter(comparison.arms))
    size = comparison.arms[first][0]
    return {
        "name": comparison.name,
        "lead": _lead(comparison, len(size.labels), len(set(size.groups)), first),
        "gravest": gravest,
        "audits": [(each, VERDICTS[each.verdict]) for each in comparison.members],
        "findings": findings(comparison),
        "verdicts": verdicts(comparison),
        "sections": found,
        "titles": {
            name: title for name, title in TITLES.items() if name in found or name not in sheets.SECTIONS
        },
        "settings": sheets.settings(comparison),
        "members": sheets.members(comparison),
        "figures": html.pictures(
            folder / keys.FIGURES,
            figures.CAPTIONS,
            lambda name: " ".join([figures.CAPTIONS[name], *(told.text for told in verdicts(comparison))]),
        ),
        "facts": {
            "Bootstrap resamples": f"{comparison.resamples:,}",
            "Level of the intervals": numbers.percent(comparison.level),
            "Started": str(environment.get("started") or html.NOT_RECORDED),
            "Git commit": str(environment.get("git_commit") or html.NOT_RECORDED),
        },
        "command": str(environment.get("command") or ""),
        "table_file": TABLE_FILE,
        "tables_folder": export.FOLDER,
    }


def _lead(comparison: Comparison, rows: int, groups: int, level: str) -> str:
    names = ", ".join(each.name for each in comparison.members)
    if not comparison.paired:
        return f"{names}, each on its own cohort."
    what = "patients" if level == "patient" else "samples"
    return f"{names}, on the same {rows:,} test {what} in {groups:,} groups."


def findings(comparison: Comparison) -> list[Finding]:
    """What a reader must know before the numbers, the grave first."""
    found = []
    if failed := [each.name for each in comparison.members if each.verdict == FAIL]:
        text = f"The audit of {', '.join(failed)} failed: this comparison is no evidence."
        found.append(Finding(text, grave=True))
    if not comparison.paired:
        found.append(Finding("Two different cohorts: a difference may be one of patients, not of arms."))
    fewest = min(len(set(arm.groups)) for arms in comparison.arms.values() for arm in arms)
    if fewest < FEW:
        text = f"Only {fewest} groups were tested: intervals by the bootstrap are too narrow below {FEW}."
        found.append(Finding(text))
    arms = [arm for arm in next(iter(comparison.arms.values())) if not arm.is_marker]
    if any(len(arm.predictions) > 1 for arm in arms):
        found.append(Finding("Of an arm of several trainings the mean is shown, and p counts their spread."))
    if all(len(arm.predictions) == 1 and arm.folds is None for arm in arms):
        text = "Each arm is one training: p is about these networks, not about how they are made."
        found.append(Finding(text))
    if any(arm.folds is not None for arm in arms):
        text = "An arm of folds pools scores of several networks: where their scales differ, its AUC falls."
        found.append(Finding(text))
    return found


def summary(comparison: Comparison) -> dict[str, float]:
    """The leading numbers by name: ``accuracy/hybrid minus resnet``."""
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
    """Close a comparison on the terminal: the arms, and each difference in a sentence."""
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
    for each in (each for each in findings(comparison) if each.grave):
        console.print(Text(each.text, style="bold red"))
    for told in verdicts(comparison):
        console.print(Text(told.text, style="green" if told.decided else ""))
