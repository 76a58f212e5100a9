"""The page of monitoring: findings on drift, the weeks, and the performance on labelled answers."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fibrolab import keys
from fibrolab.evaluation.drift import ALARM, PERMUTATIONS
from fibrolab.reporting import html, numbers
from fibrolab.reporting.figures import drift as figures
from fibrolab.reporting.figures.style import save
from fibrolab.reporting.monitoring_sentences import (
    QUANTITIES,
    WHOLE,
    Monitoring,
    Quantity,
    difference,
    findings,
)
from fibrolab.reporting.tables import table_files
from fibrolab.reporting.tables.sheet import Cell, Line, Sheet, columns, count, line, probability
from fibrolab.reporting.vocabulary import counted, end_point, records
from fibrolab.runs.answering import PREDICTED, STUDY_DATE
from fibrolab.storage import put

PAGE_FILE, FIGURE = "monitoring.html", "drift_by_week"
TITLES = {
    "findings": "Findings",
    "weeks": "Week by week",
    "performance": "Performance on labelled answers",
    "method": "How drift is told",
}


def write(folder: Path, content: Monitoring) -> Path:
    """Write the page, its figure and its tables.

    Args:
        folder: Folder for all files.
        content: Results of the comparison.

    Returns:
        The page.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    _draw(folder / keys.FIGURES / f"{FIGURE}.png", content)
    known = set(content.table["week"])
    weeks = [_sheet(week, content) for week in (WHOLE, *content.weeks) if week in known]
    performance = _performance_sheets(content)
    for sheet in (*weeks, *performance):
        table_files.save(sheet, folder / table_files.FOLDER)
    shown = {
        "name": f"Monitoring of {content.name}",
        "lead": _lead(content),
        "titles": {name: title for name, title in TITLES.items() if name != "performance" or performance},
        "findings": findings(content),
        "figure_of_weeks": html.pictures(folder / keys.FIGURES, lambda _: figures.CAPTION).get(FIGURE),
        "weeks": weeks,
        "performance": performance,
        "method": _method(content),
    }
    return put(folder / PAGE_FILE, html.render("monitoring.html.j2", shown))


def _draw(path: Path, content: Monitoring) -> None:
    titles = {name: known.short for name, known in QUANTITIES.items() if name != PREDICTED}
    titles |= {f"{PREDICTED}: {name}": f"proportion of {name}" for name in content.classes}
    alarms = {(row["week"], row["quantity"]) for row in records(content.alarms)}
    for week, quantity in list(alarms):
        if quantity == PREDICTED:
            alarms |= {(week, f"{PREDICTED}: {name}") for name in content.classes}
    save(figures.by_week(content.table, content.weeks, titles, alarms), path)


def _lead(content: Monitoring) -> str:
    dates = "date of the study" if content.dated == STUDY_DATE else "time of the answer"
    return (
        f"{counted(content.samples, 'answer')} of {counted(content.groups, 'patient')} in "
        f"{counted(len(content.weeks), 'week')} by the {dates}, compared with "
        f"{counted(content.validation, 'sample')} of {counted(content.validation_groups, 'group')} of the "
        "run's validation."
    )


def _sheet(week: str, content: Monitoring) -> Sheet:
    """Return the comparison of one week as a table."""
    rows = records(content.table[content.table["week"] == week])
    title = "Whole period" if week == WHOLE else week
    interval = f"Difference, {numbers.percent(content.level)} CI"
    new = ("Validation", "New", interval, "Distance")
    return Sheet(
        title,
        f"{title}: means, and distances of distributions, beside validation.",
        columns("Quantity", *new, "p", "p, Holm", "Pictures", "Patients"),
        [_line(row) for row in rows if row["n"]],
        empty="Nothing can be compared.",
    )


def _line(row: Mapping[str, Any]) -> Line:
    name = str(row["quantity"])
    proportion = Quantity(name.replace(f"{PREDICTED}: ", "proportion of "), "", 2)
    known = QUANTITIES.get(name, proportion)
    cells: list[str | Cell] = [
        *(_number(row[side], known.decimals) for side in ("before", "after")),
        difference(row, known.decimals) if math.isfinite(row["difference"]) else "–",
        _number(row["distance"], 2).removeprefix("0"),
        *(Cell(probability(row[each])) for each in ("p", "p_holm")),
        count(row["n"]),
        count(row["groups"]),
    ]
    return line(known.words, *cells, strong=row["p_holm"] <= ALARM)


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if math.isfinite(value) else "–"


def _performance_sheets(content: Monitoring) -> list[Sheet]:
    """Return the metrics of the labelled answers beside those of the test, by level."""
    found = []
    performance = content.performance
    for level, rows in performance.table.groupby("level", sort=False) if performance else ():
        assert performance is not None
        before = performance.before.get(str(level))
        known = {}
        if before is not None:
            known = {row.metric: row for row in numbers.rows(before, list(before["metric"]))}
        lines = []
        points = {
            f"auc_{name}": f"AUC, {end_point(content.classes, lowest)}"
            for name, lowest in content.endpoints.items()
            if name not in content.classes  # of two classes, the area is among the headline metrics
        }
        for row in numbers.rows(rows, [*numbers.headline_names(rows), *points]):
            test = known.get(row.metric)
            then = Cell(test.value_text, test.interval_text) if test else Cell("–")
            lines.append(
                line(
                    points.get(row.metric, row.title),
                    Cell(row.value_text, row.interval_text),
                    then,
                    row.baseline_text or "–",
                )
            )
        titles = columns("Metric", "Labelled answers", "Test of the run", "Baseline")
        caption = f"Metrics by {level} with {numbers.percent(content.level)} confidence intervals."
        found.append(Sheet(f"performance by {level}", caption, titles, lines))
    return found


def _method(content: Monitoring) -> list[str]:
    """Return sentences on the comparison and its limits."""
    return [
        "Each week is compared with the run's validation samples, not with an earlier week.",
        "The distance of a number is the largest difference of cumulative proportions (Kolmogorov and "
        "Smirnov); that of the predicted classes is half the sum of the differences of their proportions.",
        f"p values come from {PERMUTATIONS:,} permutations of whole patients between validation and the "
        "week, and are corrected by Holm's method for the quantities of the week: in a week without drift an "
        f"alarm (corrected p of {ALARM:g} or less) is raised in at most {100 * ALARM:g} % of the cases. They "
        "are not corrected for the number of weeks.",
        f"Intervals of differences ({numbers.percent(content.level)}) come from a bootstrap over patients "
        "and are not corrected.",
        "The network's epoch was chosen on validation, so that confidence there may be slightly higher "
        "than on any new patients.",
        "A change of the patients (stages, body size) looks like drift too. Drift does not tell that answers "
        "are wrong, and answers may become wrong without it: labels tell.",
    ]
