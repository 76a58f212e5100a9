"""The figures of a run, in one style: legible in print, to the colour-blind and in greyscale."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fibrolab import keys
from fibrolab.evaluation import metrics, predictions
from fibrolab.reporting import run as runs
from fibrolab.reporting import tables

DPI = 150
PANEL = (4.7, 4.2)  # inches; two of them stand side by side on the page
STYLE: Any = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,  # a class named "$x" is a name, not a formula
}
# Okabe and Ito's colours that print well on white, dark to light; the dashes tell them apart without colour.
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (9, 3)),
    (0, (1, 3)),
)
INK, ACCENT, SECOND, PALE = "#222222", "#0b4f8a", "#d55e00", "#c9cfd6"

Drawing = TypeVar("Drawing", bound=Callable[..., Figure])


def styled(draw: Drawing) -> Drawing:
    """Draw under `STYLE` and leave matplotlib's global settings as they were."""
    return matplotlib.rc_context(STYLE)(draw)


@styled
def confusion_matrix(y_true: np.ndarray, y_pred: np.ndarray, classes: Sequence[str]) -> Figure:
    """Counts, with the share of the true class under each.

    Args:
        y_true: True class indices (N,).
        y_pred: Predicted class indices (N,).
        classes: Names of the K classes.

    Returns:
        The figure; the rows are true, the columns predicted.
    """
    size = len(classes)
    counts = metrics.confusion_matrix(y_true, y_pred, size)[0].astype(np.int64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    figure = Figure(figsize=PANEL, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count:,}\n{100 * shares[row, column]:.0f} %" if totals[row, 0] else "–"
        ink = "white" if shares[row, column] > 0.55 else INK
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=9 if size <= 6 else 6.5)
    axes.set_xticks(range(size), classes)
    axes.set_yticks(
        range(size), [f"{name}\nn = {total:,}" for name, total in zip(classes, totals[:, 0], strict=True)]
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


@styled
def roc(y_true: np.ndarray, probabilities: np.ndarray, classes: Sequence[str]) -> Figure:
    """One-vs-rest receiver operating characteristic of each class; of two classes, only of the second.

    Args:
        y_true: True class indices (N,).
        probabilities: Predicted probabilities (N, K).
        classes: Names of the K classes.

    Returns:
        The figure, with the areas in its legend; a class without cases, or without others, is said so there.
    """
    from sklearn.metrics import auc, roc_curve

    figure = Figure(figsize=PANEL, layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.8, label="chance")
    for k in [1] if len(classes) == 2 else range(len(classes)):
        positive = np.asarray(y_true) == k
        line: dict[str, Any] = {"color": COLOURS[k % len(COLOURS)], "linestyle": DASHES[k % len(DASHES)]}
        if positive.any() and not positive.all():
            false_rate, true_rate, _ = roc_curve(positive, probabilities[:, k], drop_intermediate=True)
            axes.plot(
                false_rate,
                true_rate,
                label=f"{classes[k]}: AUC {tables.quantity(auc(false_rate, true_rate), 'auc')}",
                **line,
            )
        else:
            axes.plot(
                [], [], label=f"{classes[k]}: {'no other class' if positive.any() else 'no cases'}", **line
            )
    axes.set(
        xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal"
    )
    axes.legend(loc="lower right", handlelength=3.2, frameon=True, edgecolor="none", framealpha=0.85)
    return figure


@styled
def curves(history: pd.DataFrame, monitor: str = "val/loss", mode: str = "min") -> Figure:
    """Loss, the monitored metric and the learning rate, epoch by epoch.

    Args:
        history: One row an epoch (or several, each with other cells filled): ``epoch``, ``train/loss``,
            ``val/loss``, ``val/accuracy``, ``train/lr`` ...; columns that are absent leave their panel empty.
        monitor: The metric that chose the checkpoint; the second panel shows it, or else another ``val/*``.
        mode: Whether the best value of it is the ``min`` or the ``max``; that epoch is marked.

    Returns:
        The figure, three panels wide.
    """
    figure = Figure(figsize=(9.6, 3.0), layout="constrained")
    loss, metric, rate = figure.subplots(1, 3)
    watched = _watched(history, monitor)
    _lines(loss, history, {"train/loss": "training", "val/loss": "validation"})
    loss.set_title("Loss")
    _lines(metric, history, {f"train/{watched}": "training", f"val/{watched}": "validation"})
    metric.set_title(tables.title(watched) if watched else "Metric")
    rates = [str(name) for name in history.columns if re.fullmatch(r"(train/)?lr([-/].*)?", str(name))]
    names = {name: "learning rate" if len(rates) == 1 else name for name in rates}
    _lines(rate, history, names)
    rate.set_title("Learning rate")
    best = _best_epoch(history, monitor, mode)
    for axes in (loss, metric, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if not axes.lines:
            axes.text(0.5, 0.5, "not recorded", ha="center", transform=axes.transAxes, color="#666666")
            axes.set(xticks=[], yticks=[])
        elif best is not None:
            axes.axvline(best, color="#888888", linewidth=0.8, zorder=0)
    return figure


def _watched(history: pd.DataFrame, monitor: str) -> str:
    """The metric's name without ``val/``; empty where validation logged nothing but its loss."""
    metrics = [str(name) for name in history.columns if str(name).startswith("val/") and name != "val/loss"]
    chosen = monitor if monitor in metrics else next(iter(metrics), "")
    return str(chosen).removeprefix("val/")


def _best_epoch(history: pd.DataFrame, monitor: str, mode: str) -> float | None:
    """The epoch whose checkpoint was kept; of equals the first."""
    if monitor not in history:
        return None
    values = pd.to_numeric(history[monitor], errors="coerce").to_numpy(np.float64)
    if np.isnan(values).all():
        return None
    best = np.nanargmax(values) if mode == "max" else np.nanargmin(values)
    return float(history["epoch"].to_numpy()[best])


def _lines(axes: Axes, history: pd.DataFrame, columns: Mapping[str, str]) -> None:
    """Plot columns over epochs; rows without a value, as a log of steps has them, are passed over."""
    inks = ((ACCENT, "-", "o"), (SECOND, (0, (4, 1.5)), "s"), (INK, (0, (1, 1)), "^"))
    drawn = 0
    for column, label in columns.items():
        if column not in history:
            continue
        values = pd.to_numeric(history[column], errors="coerce")
        kept = values.notna()
        if kept.any():
            colour, dash, marker = inks[drawn % len(inks)]
            axes.plot(
                history.loc[kept, "epoch"],
                values[kept],
                color=colour,
                linestyle=dash,
                marker=marker,
                ms=3.5,
                label=label,
            )
            drawn += 1
    if drawn > 1:
        axes.legend()


@styled
def partitions(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Samples of each class in training, validation and test.

    Args:
        counts: Number of samples by partition, then by class.

    Returns:
        The figure, a panel a partition, on one scale.
    """
    figure = Figure(figsize=(9.6, 2.6), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(counts), sharey=True))
    for axes, (name, classes) in zip(panels, counts.items(), strict=True):
        bars = axes.bar(list(classes), list(classes.values()), color=ACCENT, width=0.62)
        axes.bar_label(bars, fmt="{:,.0f}", padding=2, fontsize=8.5)
        axes.set_title(f"{name.capitalize()}, n = {sum(classes.values()):,}")
        axes.tick_params(axis="x", length=0)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", left=False, labelleft=False)
        axes.margins(y=0.14)
    return figure


@styled
def samples(images: Sequence[np.ndarray], titles: Sequence[str]) -> Figure:
    """A contact sheet.

    Args:
        images: Grey images (H, W) or colours (H, W, 3), uint8.
        titles: One a picture.

    Returns:
        The figure, at most eight pictures wide; greys are shown as they are, not stretched.
    """
    columns = max(1, min(8, len(images)))
    lines = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(1.2 * columns, 1.4 * lines), layout="constrained")
    for axes in np.atleast_1d(figure.subplots(lines, columns)).flat:
        axes.set_axis_off()
    for axes, image, title in zip(figure.axes, images, titles, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="none")
        axes.set_title(title, fontsize=8, fontweight="normal", loc="center", pad=3)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG at 150 dpi, whole or not at all.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})  # equal figures, equal bytes
    return runs.put(path, buffer.getvalue())


def draw_all(run: Path) -> list[Path]:
    """Draw every figure that the files of a run allow, into its ``figures`` folder.

    Args:
        run: A run's folder.

    Returns:
        The files written.
    """
    record = runs.read(run)
    drawn: dict[str, Figure] = {}
    if (test := record.scored()) is not None:
        truth, scores = test[keys.Y_TRUE].to_numpy(), predictions.probabilities(test)
        drawn["confusion_matrix"] = confusion_matrix(truth, metrics.decide(scores), record.classes)
        drawn["roc"] = roc(truth, scores, record.classes)
    if record.history is not None and len(record.history):
        watched = record.setting("monitor", "val/loss"), record.setting("mode", "min")
        drawn["curves"] = curves(record.history, *watched)
    if record.partitions:
        drawn["partitions"] = partitions(record.partitions)
    return [save(figure, run / keys.FIGURES / f"{name}.png") for name, figure in drawn.items()]
