"""The learning curves of a run."""

import re
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fibrolab.reporting import numbers
from fibrolab.reporting.figures.style import ACCENT, INK, MM, SECOND, SOFT, WIDE, styled
from fibrolab.runs import network_histories
from fibrolab.runs.trained_run import best_epoch

STYLES = ((ACCENT, "-", "o"), (SECOND, (0, (4, 1.5)), "s"), (INK, (0, (1, 1)), "^"))
MARKED = 30  # number of epochs above which markers would hide the line


@styled
def curves(history: pd.DataFrame, monitor: str = "val/loss", mode: str = "min") -> Figure:
    """Draw loss, monitored metric and learning rate by epoch; the first epoch is 1.

    Args:
        history: One row per epoch, or several with different cells filled: ``epoch`` from 0, ``train/loss``,
            ``val/loss``, ``train/lr`` ...; a panel without its columns stays empty.
        monitor: The metric that chose the checkpoint; the second panel shows it, or else another ``val/*``.
        mode: Whether its best value is the ``min`` or the ``max``; the epoch with this value is marked.

    Returns:
        The figure, three panels wide.
    """
    figure = Figure(figsize=(WIDE, 56 * MM), layout="constrained")
    best = best_epoch(history.assign(epoch=_places(history) - 1), monitor, mode)
    for axes, (title, columns) in zip(figure.subplots(1, 3), _panels(history, monitor).items(), strict=True):
        _lines(axes, history, columns)
        _finish(axes, title)
        if axes.lines and best is not None:
            axes.axvline(best["epoch"] + 1, color="#888888", linewidth=0.8, zorder=0)
    return figure


@styled
def curves_of_networks(histories: pd.DataFrame, monitor: str = "val/loss") -> Figure:
    """Draw the learning curves of several networks thin, and their mean thick; the first epoch is 1.

    Args:
        histories: One row for each epoch of each network: ``repeat``, ``fold`` and the columns of `curves`.
        monitor: As in `curves`.

    Returns:
        The figure, three panels wide.
    """
    figure = Figure(figsize=(WIDE, 56 * MM), layout="constrained")
    average = network_histories.mean(histories)
    for axes, (title, columns) in zip(
        figure.subplots(1, 3), _panels(histories, monitor).items(), strict=True
    ):
        for _, own in histories.groupby(network_histories.NETWORK):
            _lines(axes, own, columns, thin=True)
        _lines(axes, average, columns)
        _finish(axes, title)
    return figure


def _panels(history: pd.DataFrame, monitor: str) -> dict[str, dict[str, str]]:
    """Return the columns of each panel, and their labels, by the panel's title."""
    watched = _watched(history, monitor)
    rates = [str(name) for name in history.columns if re.fullmatch(r"(train/)?lr([-/].*)?", str(name))]
    return {
        "Loss": {"train/loss": "training", "val/loss": "validation"},
        numbers.title(watched) if watched else "Metric": {
            f"train/{watched}": "training",
            f"val/{watched}": "validation",
        },
        "Learning rate": {name: "learning rate" if len(rates) == 1 else name for name in rates},
    }


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not axes.lines:
        axes.text(0.5, 0.5, "not recorded", ha="center", transform=axes.transAxes, color=SOFT)
        axes.set(xticks=[], yticks=[])


def _watched(history: pd.DataFrame, monitor: str) -> str:
    """Return the metric's name without ``val/``; empty where only the loss was logged on validation."""
    metrics = [str(name) for name in history.columns if str(name).startswith("val/") and name != "val/loss"]
    chosen = monitor if monitor in metrics else next(iter(metrics), "")
    return str(chosen).removeprefix("val/")


def _places(history: pd.DataFrame) -> pd.Series:
    """Return the epoch of each row, the first 1; by its step, if an epoch is validated several times."""
    epochs = history["epoch"] + 1
    validated = history[[str(name) for name in history if str(name).startswith("val/")]].notna().any(axis=1)
    if "step" not in history or not history.loc[validated, "epoch"].duplicated().any():
        return epochs
    return history["step"] / history["step"].max() * epochs.max()


def _lines(axes: Axes, history: pd.DataFrame, columns: Mapping[str, str], thin: bool = False) -> None:
    """Plot columns over epochs; rows without a value are skipped, and thin lines have no label."""
    for number, (column, label) in enumerate(columns.items()):
        if column not in history:
            continue
        values = pd.to_numeric(history[column], errors="coerce")
        kept = values.notna()
        if not kept.any():
            continue
        colour, dash, marker = STYLES[number % len(STYLES)]
        epochs = _places(history)[kept]
        if thin:
            axes.plot(epochs, values[kept], color=colour, linestyle=dash, linewidth=0.6, alpha=0.45)
            continue
        mark = marker if kept.sum() <= MARKED else ""
        axes.plot(epochs, values[kept], color=colour, linestyle=dash, marker=mark, ms=3, label=label)
    if not thin and len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend()
