"""The tables of a segmentation: each class, agreement of areas, calibration of pixel probabilities."""

from collections.abc import Iterator

import pandas as pd

from fibrolab.evaluation.measures import catalogue
from fibrolab.evaluation.segmentation.images import MAPS, reference
from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.tables.sheet import Column, Line, Sheet, line
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
    return [_metrics(run, run.metrics, measures), *_areas(run), *_calibration(run)]


def _metrics(run: Run, metrics: pd.DataFrame, measures: pd.DataFrame) -> Sheet:
    unit = str(measures["unit"].iloc[0])
    names = [metric.name for metric in catalogue.MASK_METRICS]
    classes = list(measures["class"].unique())
    if len(classes) > 1:
        names = [f"{name}{suffix}" for suffix in ("", *(f"_{each}" for each in classes)) for name in names]
    names += [catalogue.agreement(name) for name in names]
    lines = [_metric(row, unit) for row in numbers.rows(metrics, names)]
    titles = ("Value", f"{vocabulary.level(run)} CI", "Baseline")
    columns = (Column("Measure", number=False), *map(Column, titles))
    caption = "Mean over the test images; intervals by the bootstrap over groups"
    notes = [("", CONVENTION)]
    if reference(measures) == MAPS:
        notes.append(("", f"The test masks are pseudo-masks: every number is {numbers.AGREEMENT}."))
    return Sheet("segmentation", caption, columns, lines, notes=notes)


def _metric(row: numbers.Row, unit: str) -> Line:
    plain = row.metric.removeprefix(f"{catalogue.AGREEMENT}_")
    title = f"{row.title} [{unit}]" if plain.startswith(("hd95", "asd")) else row.title
    baseline = numbers.quantity(row.baseline, row.metric)
    return line(title, row.value_text, row.interval_text, baseline)


def _areas(run: Run) -> Iterator[Sheet]:
    if (table := run.tables.get("bland_altman")) is None:
        return
    titles = ("Images", "Groups", "Bias", "Limits of agreement")
    lines = [
        line(
            f"{row['class']} [{row['unit']}]",
            f"{row['n']:.0f}",
            f"{row['groups']:.0f}",
            f"{row['bias']:,.1f}",
            f"{row['low']:,.1f} to {row['high']:,.1f}",
        )
        for _, row in table.iterrows()
    ]
    measured = run.tables.get("segmentation")
    true = "true area" if measured is None or reference(measured) != MAPS else "area of the classifier's map"
    caption = f"Predicted less {true} in the test images (Bland and Altman), allowing for several per group"
    yield Sheet("area agreement", caption, (Column("Class", number=False), *map(Column, titles)), lines)


def _calibration(run: Run) -> Iterator[Sheet]:
    if (table := run.tables.get("pixel_calibration")) is None:
        return
    parts = table.groupby("class", sort=False)
    lines = [
        line(
            str(name),
            f"{part['pixels'].sum():,.0f}",
            numbers.quantity(part["ece"].iloc[0], "ece"),
        )
        for name, part in parts
    ]
    columns = (Column("Class", number=False), Column("Pixels"), Column("Expected calibration error"))
    yield Sheet("pixel calibration", "Calibration of the pixel probabilities", columns, lines)
