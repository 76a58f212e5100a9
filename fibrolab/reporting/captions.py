"""What a figure shows, and the same with its main numbers in words for those who cannot see it."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.evaluation import endpoints, predictions
from fibrolab.evaluation.intervals import roc_curves
from fibrolab.evaluation.measures import decisions
from fibrolab.reporting import numbers
from fibrolab.runs.trained_run import Run

BANDS = "Shaded: pointwise confidence band, by resampling groups."
CAPTIONS: Final = {
    "confusion_matrix": "Confusion matrix of the test set. Rows are true, columns predicted classes; "
    "percentages are of the true class.",
    "roc": "Receiver operating characteristic of the test set, each class against the others. The straight "
    f"line is chance, the faint curves are the other classes. {BANDS}",
    "precision_recall": "Precision and recall of the test set, each class against the others. The level "
    "line is the share of the class, which is the precision of guessing, the faint curves are the other "
    f"classes. {BANDS}",
    "endpoints": "Receiver operating characteristic of the end points on the test set, each scored by the "
    "sum of its stages' probabilities. Circles: sensitivity and specificity on test of the Youden threshold "
    f"chosen on validation. {BANDS}",
    "reliability": "Reliability of the test set's answers: how often the most probable class was right, over "
    "its probability, with Wilson intervals. On the diagonal a probability means what it says. Below: how "
    "many answers there are, and their mean confidence.",
    "decision": "Decision curves of the test set: net benefit of treating those whose probability of the end "
    "point reaches the threshold, beside treating everybody and nobody, in true positives per sample. "
    f"{BANDS}",
    "curves": "Learning curves by epoch; the grey line marks the epoch with the best monitored metric.",
    "partitions": "Samples of each class by partition.",
    "subgroups": "Subgroups of the test set with their intervals; the dashed line is the whole test set.",
    "mistakes": "The worst mistakes of the test set: those farthest from the truth, the surest first.",
    "samples": "Training samples as the network gets them, after preprocessing and augmentation: of several "
    "modalities the first, of a clip the middle frame.",
}


def end_point(classes: Sequence[str], lowest: int) -> str:
    """An end point in words: ``F2 or worse``, or the class itself where nothing is worse."""
    return f"{classes[lowest]} or worse" if lowest < len(classes) - 1 else str(classes[lowest])


def alt(name: str, run: Run) -> str:
    """What a figure of a run shows, with its main numbers, for a screen reader.

    Args:
        name: Of the figure, as its file is called.
        run: The run whose files it was drawn from.

    Returns:
        Its caption, and the numbers as far as they are on record.
    """
    caption = CAPTIONS.get(name, name.replace("_", " ").capitalize() + ".")
    numbers = NUMBERS[name](run) if name in NUMBERS else ""
    return f"{caption} {numbers}".strip()


def _confusion(run: Run) -> str:
    if (test := run.scored()) is None:
        return ""
    truth, answer = test[keys.Y_TRUE].to_numpy(), decisions.decide(predictions.probabilities(test))
    counts = decisions.confusion_matrix(truth, answer, len(run.classes))[0].astype(int)
    right = f"{np.trace(counts):,} of {len(test):,} are right."
    totals = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    if not counts.any():
        return right
    true, said = np.unravel_index(counts.argmax(), counts.shape)
    worst = f"{counts[true, said]:,} of {totals[true]:,} {run.classes[true]} called {run.classes[said]}"
    return f"{right} The commonest mistake: {worst}."


def _areas(run: Run) -> str:
    names = {f"auc_{name}": name for name in run.classes}
    return _named("AUC", {names[row.metric]: str(row) for row in _rows(run.metrics, list(names))})


def _precisions(run: Run) -> str:
    if (test := run.scored()) is None:
        return ""
    truth, scores = test[keys.Y_TRUE].to_numpy(), predictions.probabilities(test)
    known = [k for k in range(len(run.classes)) if 0 < (truth == k).sum() < len(truth)]
    areas = {k: float(roc_curves.average_precision(scores[:, k], truth == k)[0]) for k in known}
    return _named("Average precision", {run.classes[k]: numbers.quantity(areas[k], "auc") for k in known})


def _end_points(run: Run) -> str:
    names = {f"auc_{name}": end_point(run.classes, stage) for name, stage in end_points(run).items()}
    return _named("AUC", {names[row.metric]: str(row) for row in _rows(run.metrics, list(names))})


def _prevalences(run: Run) -> str:
    if (test := run.scored()) is None:
        return ""
    truth, asked = test[keys.Y_TRUE].to_numpy(), end_points(run)
    shares = {end_point(run.classes, stage): float((truth >= stage).mean()) for stage in asked.values()}
    return _named(
        "Share of cases", {name: numbers.quantity(share, "accuracy") for name, share in shares.items()}
    )


def _calibration(run: Run) -> str:
    if (table := run.tables.get("calibration")) is None:
        return ""
    found = table[(table["level"] == "sample") & (table["measure"] == "ece")]
    values = {
        name: numbers.quantity(value, "ece")
        for name, value in zip(found["probabilities"], found["value"], strict=True)
    }
    return _named("Expected calibration error", values)


def _training(run: Run) -> str:
    if run.history is None or run.history.empty:
        return ""
    monitor, mode = run.setting("monitor", "val/loss"), run.setting("mode", "min")
    epochs = f"{int(run.history['epoch'].max()) + 1} epochs"
    if monitor not in run.history:
        return f"{epochs}."
    values = pd.to_numeric(run.history[monitor], errors="coerce")
    best = values.max() if mode == "max" else values.min()
    return f"{epochs}; the best {monitor} is {best:.3g}." if np.isfinite(best) else f"{epochs}."


def _sizes(run: Run) -> str:
    sizes = {name: f"{sum(classes.values()):,}" for name, classes in run.partitions.items()}
    return _named("Samples", sizes)


def _subgroups(run: Run) -> str:
    if (table := run.tables.get("subgroups")) is None:
        return ""
    found = table[(table["metric"] == "accuracy") & table["estimate"].notna()].sort_values("estimate")
    if found.empty:
        return ""
    ends = [found.iloc[0], found.iloc[-1]]
    low, high = (
        f"{numbers.quantity(row['estimate'], 'accuracy')} ({row['variable']} {row['value']})" for row in ends
    )
    return f"Accuracy runs from {low} to {high}."


def _mistakes(run: Run) -> str:
    if (table := run.tables.get("mistakes")) is None:
        return ""
    worst = table.iloc[0]
    return f"The worst: true {worst['true']}, said {worst['predicted']}."


NUMBERS: Final[dict[str, Callable[[Run], str]]] = {
    "confusion_matrix": _confusion,
    "roc": _areas,
    "precision_recall": _precisions,
    "endpoints": _end_points,
    "reliability": _calibration,
    "decision": _prevalences,
    "curves": _training,
    "partitions": _sizes,
    "subgroups": _subgroups,
    "mistakes": _mistakes,
}


def end_points(run: Run) -> dict[str, int]:
    """Lowest positive class of the end points that a run answers; settings of other classes name none."""
    asked = endpoints.of_task(run.classes, run.endpoints)
    return {name: lowest for name, lowest in asked.items() if 0 < lowest < len(run.classes)}


def _rows(table: pd.DataFrame | None, names: list[str]) -> list[numbers.Row]:
    return [] if table is None else numbers.rows(table, names)


def _named(what: str, values: dict[str, str]) -> str:
    """``AUC: F0 .98, F1 .91.``; empty where nothing is known."""
    return f"{what}: {', '.join(f'{name} {value}' for name, value in values.items())}." if values else ""
