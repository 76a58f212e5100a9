"""The tables of a segmentation: each class, agreement of areas, calibration of pixel probabilities."""

from collections.abc import Iterator

import pandas as pd

from fibrolab.evaluation.measures import catalogue
from fibrolab.evaluation.segmentation.images import MAPS, reference
from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.tables.sheet import Cell, Line, Sheet, columns, line
from fibrolab.runs.trained_run import Run

CONVENTION = (
    "Dice and IoU are 1 where neither mask has a pixel, and 0 where only one has; distances are averaged "
    "over the images in which both masks have pixels. The baseline is the mean training mask: the pixels "
    "that more than half of the training masks hold."
)


def sheets(run: Run) -> list[Sheet]:
    """Return the tables; none of a run that classifies samples."""
    measures = run.tables.get("segmentation")
    if measures is None or run.metrics is None:
        return []
    tables = (_metrics(run, run.metrics, measures), *_classes(run, run.metrics, measures))
    return [*tables, *_areas(run), *_calibration(run)]


def _metrics(run: Run, metrics: pd.DataFrame, measures: pd.DataFrame) -> Sheet:
    unit = str(measures["unit"].iloc[0])
    names = [metric.name for metric in catalogue.MASK_METRICS]
    names += [catalogue.agreement(name) for name in names]
    lines = [_metric(row, unit) for row in numbers.rows(metrics, names)]
    titles = columns("Measure", "Value", f"{vocabulary.level(run)} CI", "Baseline")
    caption = "Mean over the test images; intervals by the bootstrap over groups"
    notes = [("", CONVENTION)]
    if reference(measures) == MAPS:
        notes.append(("", f"The test masks are pseudo-masks: every number is {numbers.AGREEMENT}."))
    return Sheet("segmentation", caption, titles, lines, notes=notes)


def _metric(row: numbers.Row, unit: str) -> Line:
    plain = row.metric.removeprefix(f"{catalogue.AGREEMENT}_")
    baseline = numbers.quantity(row.baseline, row.metric)
    return line(_with_unit(row.title, plain, unit), row.value_text, row.interval_text, baseline)


def _classes(run: Run, metrics: pd.DataFrame, measures: pd.DataFrame) -> Iterator[Sheet]:
    """Yield the measures of each class, where there are several besides the background."""
    classes = list(measures["class"].unique())
    if len(classes) < 2:
        return
    unit, names = str(measures["unit"].iloc[0]), [metric.name for metric in catalogue.MASK_METRICS]
    against = {"": "", f"{catalogue.AGREEMENT}_": f", {numbers.AGREEMENT}"}
    for prefix, words in against.items():
        lines, titles = [], []
        for of in classes:
            rows = numbers.rows(metrics, [f"{prefix}{name}_{of}" for name in names])
            if not rows:
                continue
            titles = [_with_unit(numbers.title(name), name, unit) for name in names]
            cells = [Cell(row.value_text, row.interval_text) for row in rows]
            lines.append(line(str(of), "network", *cells))
            reached = [numbers.quantity(row.baseline, row.metric) for row in rows]
            lines.append(line(str(of), "mean training mask", *reached))
        if lines:
            caption = f"Measures of each class{words}, with {vocabulary.level(run)} CI"
            shown = columns("Class", "Masks", *titles, texts=2)
            yield Sheet(f"{prefix}segmentation by class", caption, shown, lines, "broad sheet")


def _with_unit(title: str, metric: str, unit: str) -> str:
    return f"{title} [{unit}]" if metric in ("hd95", "asd") else title


def _areas(run: Run) -> Iterator[Sheet]:
    if (table := run.tables.get("bland_altman")) is None:
        return
    lines = [
        line(
            f"{row['class']} [{row['unit']}]",
            f"{row['n']:.0f}",
            f"{row['groups']:.0f}",
            _signed(row["bias"]),
            f"{_signed(row['low'])} to {_signed(row['high'])}",
        )
        for _, row in table.iterrows()
    ]
    measured = run.tables.get("segmentation")
    true = "true area" if measured is None or reference(measured) != MAPS else "area of the classifier's map"
    caption = f"Predicted less {true} in the test images (Bland and Altman), allowing for several per group"
    titles = columns("Class", "Images", "Groups", "Bias", "Limits of agreement")
    yield Sheet("area agreement", caption, titles, lines)


def _signed(value: float) -> str:
    return f"{value:,.1f}".replace("-", numbers.MINUS)


def _calibration(run: Run) -> Iterator[Sheet]:
    if (table := run.tables.get("pixel_calibration")) is None:
        return
    lines = [
        line(str(name), f"{part['pixels'].sum():,.0f}", numbers.quantity(part["ece"].iloc[0], "ece"))
        for name, part in table.groupby("class", sort=False)
    ]
    titles = columns("Class", "Pixels", "Expected calibration error")
    yield Sheet("pixel calibration", "Calibration of the pixel probabilities", titles, lines)
