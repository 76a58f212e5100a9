"""The figures of a run, drawn from its files: legible in print, in greyscale and to the colour-blind."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fibrolab import keys
from fibrolab.evaluation import predictions
from fibrolab.evaluation.measures import decisions, thresholds
from fibrolab.evaluation.probabilities import calibration
from fibrolab.reporting import captions, numbers, vocabulary
from fibrolab.reporting.figures.counts import confusion_matrix, partitions
from fibrolab.reporting.figures.curves import end_points, precision_recall, roc
from fibrolab.reporting.figures.forest import subgroups
from fibrolab.reporting.figures.probabilities import decision_curves, reliability
from fibrolab.reporting.figures.style import save_all
from fibrolab.reporting.figures.training import curves
from fibrolab.runs import trained_run as runs
from fibrolab.runs.trained_run import Run

FIGURES = (
    "confusion_matrix",
    "roc",
    "precision_recall",
    "endpoints",
    "reliability",
    "decision",
    "curves",
    "partitions",
    "subgroups",
)
RULE = thresholds.YOUDEN  # whose threshold is marked on the curves


def draw_all(folder: Path) -> list[Path]:
    """Draw every figure that the files of a run allow, into its ``figures`` folder, each as PNG and as SVG.

    Args:
        folder: Of a run.

    Returns:
        The PNG files written; those of an earlier evaluation that cannot be drawn any more are removed.
    """
    record = runs.read(folder)
    drawn = dict(_of_test(record)) | dict(_of_run(record))
    return save_all(drawn, FIGURES, folder / keys.FIGURES)


def _of_test(run: Run) -> Iterator[tuple[str, Figure]]:
    """What the predictions of the test set show."""
    if (test := run.scored()) is None:
        return
    truth, scores, classes = test[keys.Y_TRUE].to_numpy(), predictions.probabilities(test), run.classes
    groups, level = test[keys.GROUP_ID].to_numpy(), float(run.setting("bootstrap.level", 0.95))
    chosen, asked = _chosen(run), captions.end_points(run)
    yield "confusion_matrix", confusion_matrix(truth, decisions.decide(scores), classes)
    yield "roc", roc(truth, scores, classes, groups, level, chosen)
    yield "precision_recall", precision_recall(truth, scores, classes, groups, level)
    if asked and len(classes) > 2:  # of two classes the curve above is that of their only end point
        yield "endpoints", end_points(truth, scores, classes, asked, groups, level, chosen)
    answers, errors = _answers(run, scores)
    yield "reliability", reliability(truth, answers, groups, level, errors)
    if asked:
        yield "decision", decision_curves(truth, scores, classes, asked, groups, level)


def _of_run(run: Run) -> Iterator[tuple[str, Figure]]:
    """What its training, its data and its tables show."""
    if run.history is not None and len(run.history):
        watched = run.setting("monitor", "val/loss"), run.setting("mode", "min")
        yield "curves", curves(run.history, *watched)
    if run.partitions:
        yield "partitions", partitions(run.partitions)
    if (table := run.tables.get("subgroups")) is not None:
        known = run.metrics
        overall = {} if known is None else dict(zip(known["metric"], known["value"], strict=True))
        yield "subgroups", subgroups(table, overall)


def _chosen(run: Run) -> dict[str, tuple[float, float]]:
    """Sensitivity and specificity on test at the threshold that validation chose, by end point."""
    if (table := run.tables.get("endpoints")) is None:
        return {}
    rows = table[(table["level"] == "sample") & (table["rule"] == RULE)]
    wide = rows.drop_duplicates(["endpoint", "metric"]).pivot(
        index="endpoint", columns="metric", values="value"
    )
    if not {"sensitivity", "specificity"} <= set(wide.columns):
        return {}
    known = wide[["sensitivity", "specificity"]].dropna()
    return {str(name): (float(row.iloc[0]), float(row.iloc[1])) for name, row in known.iterrows()}


def _answers(run: Run, scores: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The probabilities as predicted and at the temperature on record, and the calibration error of each."""
    answers = {"As predicted": scores}
    errors: dict[str, str] = {}
    if (table := run.tables.get("calibration")) is None:
        return answers, errors
    found = table[(table["level"] == "sample") & (table["measure"] == "ece")]
    for row in vocabulary.records(found):
        title = "As predicted"
        if vocabulary.word(row, "probabilities") == "temperature":
            temperature = vocabulary.number(row, "temperature")
            if not np.isfinite(temperature):
                continue
            title = f"At temperature {temperature:.2f}"
            answers[title] = calibration.scaled(scores, temperature)
        errors[title] = (
            f"ECE {numbers.quantity(vocabulary.number(row, 'value'), 'ece')}"  # no interval is sound
        )
    return answers, errors
