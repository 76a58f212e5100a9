"""The figures of a run, one entry each: section of the page, caption, drawing, main values in words."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from fibrolab import keys
from fibrolab.evaluation import predictions
from fibrolab.evaluation.intervals.roc_curves import average_precision
from fibrolab.evaluation.measures import decisions, thresholds
from fibrolab.evaluation.probabilities import calibration
from fibrolab.evaluation.segmentation.images import of_partition
from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.figures import counts, forest, learning_curves, masks, probabilities, roc_curves
from fibrolab.reporting.figures.style import save_all
from fibrolab.runs import trained_run as runs
from fibrolab.runs.trained_run import Run

BAND = "Shaded: pointwise confidence band from a bootstrap over groups."
AS_PREDICTED = "As predicted"


@dataclass(frozen=True)
class RunFigure:
    """A figure of a run.

    Attributes:
        name: Name of its files.
        section: Section of the page, a name of `run_page.TITLES`.
        caption: Text below the figure.
        draw: Function that draws it from a run, or returns ``None`` where the run lacks the data. An entry
            without a function is drawn elsewhere, from images.
        numbers: Function that returns its main values in words, for screen readers; empty if not known.
        missing: Title of the figure where the page states that it was not recorded; empty: no statement.
        wide: Whether it has the width of the page.
    """

    name: str
    section: str
    caption: str
    draw: Callable[[Run], Figure | None] | None = None
    numbers: Callable[[Run], str] = lambda run: ""
    missing: str = ""
    wide: bool = True


def draw_all(folder: Path) -> list[Path]:
    """Draw all figures for which a run has data into its ``figures`` folder, as PNG and SVG.

    Args:
        folder: Folder of the run.

    Returns:
        The PNG files written; those of an earlier evaluation that can no longer be drawn are removed.
    """
    run = runs.read(folder)
    found = {entry.name: entry.draw(run) for entry in FIGURES if entry.draw}
    drawn = {name: figure for name, figure in found.items() if figure is not None}
    return save_all(drawn, [*found], folder / keys.FIGURES)


def caption(name: str) -> str:
    """Return the caption of a figure; for an unknown one its name."""
    known = {entry.name: entry.caption for entry in FIGURES}
    return known.get(name, name.replace("_", " ").capitalize() + ".")


def alternative_text(name: str, run: Run) -> str:
    """Return the caption of a figure and its main values, for a screen reader.

    Args:
        name: Name of the figure's file, without its ending.
        run: The run from which it was drawn.
    """
    found = [entry.numbers(run) for entry in FIGURES if entry.name == name]
    return " ".join(filter(None, [caption(name), *found]))


def _level(run: Run) -> float:
    return float(run.setting("bootstrap.level", 0.95))


def _confusion_matrix(run: Run) -> Figure | None:
    if (test := run.scored()) is None:
        return None
    predicted = decisions.decide(predictions.probabilities(test))
    return counts.confusion_matrix(test[keys.Y_TRUE].to_numpy(), predicted, run.classes)


def _confusions(run: Run) -> str:
    if (test := run.scored()) is None:
        return ""
    truth, predicted = test[keys.Y_TRUE].to_numpy(), decisions.decide(predictions.probabilities(test))
    matrix = decisions.confusion_matrix(truth, predicted, len(run.classes))[0].astype(int)
    correct = f"{np.trace(matrix):,} of {len(test):,} predictions are correct."
    totals = matrix.sum(axis=1)
    np.fill_diagonal(matrix, 0)
    if not matrix.any():
        return correct
    true, wrong = np.unravel_index(matrix.argmax(), matrix.shape)
    most = (
        f"{matrix[true, wrong]:,} of {totals[true]:,} {run.classes[true]} predicted as {run.classes[wrong]}"
    )
    return f"{correct} The most frequent error: {most}."


def _area_agreement(run: Run) -> Figure | None:
    measures, limits = run.tables.get("segmentation"), run.tables.get("bland_altman")
    if measures is None or limits is None:
        return None
    return masks.bland_altman(of_partition(measures, keys.TEST), limits)


def _pixel_calibration(run: Run) -> Figure | None:
    table = run.tables.get("pixel_calibration")
    return None if table is None else masks.calibration(table)


def _roc(run: Run) -> Figure | None:
    if (test := run.scored()) is None:
        return None
    truth, scores, groups = test[keys.Y_TRUE].to_numpy(), predictions.probabilities(test), test[keys.GROUP_ID]
    return roc_curves.roc(truth, scores, run.classes, groups.to_numpy(), _level(run), _operating_points(run))


def _areas(run: Run) -> str:
    names = {f"auc_{name}": name for name in run.classes}
    return _named("AUC", {names[row.metric]: str(row) for row in _rows(run.metrics, list(names))})


def _precision_recall(run: Run) -> Figure | None:
    if (test := run.scored()) is None:
        return None
    truth, scores, groups = test[keys.Y_TRUE].to_numpy(), predictions.probabilities(test), test[keys.GROUP_ID]
    return roc_curves.precision_recall(truth, scores, run.classes, groups.to_numpy(), _level(run))


def _precisions(run: Run) -> str:
    if (test := run.scored()) is None:
        return ""
    truth, scores = test[keys.Y_TRUE].to_numpy(), predictions.probabilities(test)
    known = [k for k in range(len(run.classes)) if 0 < (truth == k).sum() < len(truth)]
    areas = {k: float(average_precision(scores[:, k], truth == k)[0]) for k in known}
    return _named("Average precision", {run.classes[k]: numbers.quantity(areas[k], "auc") for k in known})


def _end_points(run: Run) -> Figure | None:
    lowest = vocabulary.end_points(run)
    # Of two classes, the ROC curve is that of their only end point.
    if (test := run.scored()) is None or not lowest or len(run.classes) <= 2:
        return None
    truth, scores, groups = test[keys.Y_TRUE].to_numpy(), predictions.probabilities(test), test[keys.GROUP_ID]
    points = _operating_points(run)
    return roc_curves.end_points(truth, scores, run.classes, lowest, groups.to_numpy(), _level(run), points)


def _end_point_areas(run: Run) -> str:
    lowest = vocabulary.end_points(run)
    names = {f"auc_{name}": vocabulary.end_point(run.classes, stage) for name, stage in lowest.items()}
    return _named("AUC", {names[row.metric]: str(row) for row in _rows(run.metrics, list(names))})


def _operating_points(run: Run) -> dict[str, tuple[float, float]]:
    """Return sensitivity and specificity on test at the Youden threshold of validation, by end point.

    Without validation there is none; the curves then show no operating point.
    """
    if (table := run.tables.get("endpoints")) is None:
        return {}
    rows = table[(table["level"] == "sample") & (table["rule"] == thresholds.YOUDEN)]
    wide = rows.drop_duplicates(["endpoint", "metric"]).pivot(
        index="endpoint", columns="metric", values="value"
    )
    if not {"sensitivity", "specificity"} <= set(wide.columns):
        return {}
    known = wide[["sensitivity", "specificity"]].dropna()
    return {str(name): (float(row.iloc[0]), float(row.iloc[1])) for name, row in known.iterrows()}


def _reliability(run: Run) -> Figure | None:
    if (test := run.scored()) is None:
        return None
    scores, errors = _calibrated(run, predictions.probabilities(test))
    truth, groups = test[keys.Y_TRUE].to_numpy(), test[keys.GROUP_ID].to_numpy()
    return probabilities.reliability(truth, scores, groups, _level(run), errors)


def _calibrated(run: Run, scores: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the probabilities as predicted and at the recorded temperature, and the ECE of each."""
    found = {AS_PREDICTED: scores}
    errors: dict[str, str] = {}
    if (table := run.tables.get("calibration")) is None or run.predictions is None:
        return found, errors
    for row in vocabulary.records(table[(table["level"] == "sample") & (table["measure"] == "ece")]):
        title = AS_PREDICTED
        if vocabulary.word(row, "probabilities") == "temperature":
            temperature = vocabulary.number(row, "temperature")
            if not np.isfinite(temperature):
                continue
            title = f"At temperature {temperature:.2f}"
            if run.networks is None:
                found[title] = calibration.scaled(scores, temperature)
            else:  # each fold has its own; their mean is recorded
                found[title] = calibration.on_validation(run.predictions, scores)[1]
        error = numbers.quantity(vocabulary.number(row, "value"), "ece")  # it has no valid interval
        errors[title] = f"ECE {error}"
    return found, errors


def _calibration_errors(run: Run) -> str:
    if (table := run.tables.get("calibration")) is None:
        return ""
    found = table[(table["level"] == "sample") & (table["measure"] == "ece")]
    values = {
        name: numbers.quantity(value, "ece")
        for name, value in zip(found["probabilities"], found["value"], strict=True)
    }
    return _named("Expected calibration error", values)


def _decision_curves(run: Run) -> Figure | None:
    lowest = vocabulary.end_points(run)
    if (test := run.scored()) is None or not lowest:
        return None
    truth, scores, groups = test[keys.Y_TRUE].to_numpy(), predictions.probabilities(test), test[keys.GROUP_ID]
    return probabilities.decision_curves(truth, scores, run.classes, lowest, groups.to_numpy(), _level(run))


def _prevalences(run: Run) -> str:
    if (test := run.scored()) is None:
        return ""
    truth = test[keys.Y_TRUE].to_numpy()
    found = {
        vocabulary.end_point(run.classes, stage): numbers.quantity(float((truth >= stage).mean()), "accuracy")
        for stage in vocabulary.end_points(run).values()
    }
    return _named("Prevalence", found)


def _learning_curves(run: Run) -> Figure | None:
    if run.network_histories is not None and not run.network_histories.empty:
        return learning_curves.curves_of_networks(run.network_histories, run.setting("monitor", "val/loss"))
    if run.history is None or run.history.empty:
        return None
    return learning_curves.curves(run.history, run.setting("monitor", "val/loss"), run.setting("mode", "min"))


def _best_epoch(run: Run) -> str:
    if run.network_histories is not None and not run.network_histories.empty:
        return "Thin lines: the networks; thick line: their mean over the epochs that all of them reached."
    if run.history is None or run.history.empty:
        return ""
    monitor, mode = run.setting("monitor", "val/loss"), run.setting("mode", "min")
    epochs = f"{int(run.history['epoch'].max()) + 1} epochs"
    best = runs.best_epoch(run.history, monitor, mode)
    if best is None:
        return f"{epochs}{'; the last one was used, without validation' * run.lacks_validation}."
    return f"{epochs}; the best {monitor} is {best[monitor]:.3g}."


def _partitions(run: Run) -> Figure | None:
    return counts.partitions(run.partitions) if run.partitions else None


def _partition_sizes(run: Run) -> str:
    sizes = {name: f"{sum(classes.values()):,}" for name, classes in run.partitions.items()}
    return _named("Samples", sizes)


def _subgroups(run: Run) -> Figure | None:
    if (table := run.tables.get("subgroups")) is None:
        return None
    overall = {} if run.metrics is None else run.metrics.set_index("metric")["value"].to_dict()
    return forest.subgroups(table, {str(name): float(value) for name, value in overall.items()})


def _subgroup_extremes(run: Run) -> str:
    if (table := run.tables.get("subgroups")) is None:
        return ""
    found = table[(table["metric"] == "accuracy") & table["estimate"].notna()].sort_values("estimate")
    if found.empty:
        return ""
    low, high = (
        f"{numbers.quantity(row['estimate'], 'accuracy')} ({row['variable']} {row['value']})"
        for row in (found.iloc[0], found.iloc[-1])
    )
    return f"Accuracy ranges from {low} to {high}."


def _largest_error(run: Run) -> str:
    if (table := run.tables.get("mistakes")) is None:
        return ""
    worst = table.iloc[0]
    return f"The largest error: true {worst['true']}, predicted {worst['predicted']}."


def _rows(table: pd.DataFrame | None, names: list[str]) -> list[numbers.Row]:
    return [] if table is None else numbers.rows(table, names)


def _named(title: str, values: dict[str, str]) -> str:
    """Return ``AUC: F0 .98, F1 .91.``; empty where nothing is known."""
    return f"{title}: {', '.join(f'{name} {value}' for name, value in values.items())}." if values else ""


FIGURES = (  # in the order of the page; a new figure is added here only
    RunFigure(
        "endpoints",
        "curves",
        "Receiver operating characteristic (ROC) curves of the end points on the test set; the score of an "
        "end point is the sum of the probabilities of its stages. Circles: operating points on the test "
        f"set, at the thresholds that maximise Youden's index on the validation set. {BAND}",
        _end_points,
        _end_point_areas,
    ),
    RunFigure(
        "roc",
        "curves",
        "Receiver operating characteristic (ROC) curves of each class against the others, on the test set. "
        f"The diagonal is chance; grey curves are the other classes. {BAND}",
        _roc,
        _areas,
        missing="ROC curves",
    ),
    RunFigure(
        "precision_recall",
        "curves",
        "Precision-recall curves of each class against the others, on the test set. The horizontal line is "
        "the prevalence of the class, which is the precision of random predictions; grey curves are the "
        f"other classes. {BAND}",
        _precision_recall,
        _precisions,
    ),
    RunFigure(
        "reliability",
        "curves",
        "Reliability of the predictions on the test set: proportion of correct predictions against predicted "
        "probability of the most probable class, with Wilson confidence intervals. Perfectly calibrated "
        "probabilities lie on the diagonal. Below: number of predictions, and their mean probability.",
        _reliability,
        _calibration_errors,
    ),
    RunFigure(
        "decision",
        "curves",
        "Decision curves on the test set: net benefit, in true positives per sample, of treating those whose "
        "probability of the end point reaches the threshold, compared with treating all and treating none. "
        f"{BAND}",
        _decision_curves,
        _prevalences,
    ),
    RunFigure(
        "confusion_matrix",
        "classes",
        "Confusion matrix of the test set. Rows are true classes, columns predicted classes; percentages are "
        "proportions of the true class.",
        _confusion_matrix,
        _confusions,
        missing="Confusion matrix",
        wide=False,
    ),
    RunFigure(
        "masks",
        "segmentation",
        "Best and worst segmentations of the test set by Dice: outlines of the masks that they are measured "
        "against, and dashed those of the predicted ones. Of several classes, that with the lowest Dice is "
        "named.",
    ),
    RunFigure(
        "area_agreement",
        "segmentation",
        "Agreement of areas on the test set (Bland and Altman): predicted less reference area of each image, "
        "with the bias and the limits of agreement.",
        _area_agreement,
    ),
    RunFigure(
        "pixel_calibration",
        "segmentation",
        "Reliability of the pixel probabilities on the test set: the proportion of pixels of the class "
        "against their mean probability, in bins with 50 pixels or more. Calibrated probabilities lie on the "
        "diagonal.",
        _pixel_calibration,
        wide=False,
    ),
    RunFigure(
        "subgroups",
        "subgroups",
        "Performance in subgroups of the test set, with confidence intervals; the dashed line is the whole "
        "test set.",
        _subgroups,
        _subgroup_extremes,
    ),
    RunFigure(
        "mistakes",
        "mistakes",
        "Largest errors on the test set: predictions farthest from the true class, the most confident first.",
        numbers=_largest_error,
    ),
    RunFigure("partitions", "data", "Samples of each class by partition.", _partitions, _partition_sizes),
    RunFigure(
        "samples",
        "data",
        "Training samples as the network receives them, after preprocessing and augmentation: the first of "
        "several modalities, the middle frame of a clip.",
    ),
    RunFigure(
        "curves",
        "training",
        "Learning curves by epoch; of a single network, the grey line marks the epoch with the best value of "
        "the monitored metric on validation.",
        _learning_curves,
        _best_epoch,
        missing="Learning curves",
    ),
)
