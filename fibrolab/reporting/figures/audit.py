"""Figures of an audit: a contact sheet of the largest clusters of copies, and the baselines side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fibrolab import keys
from fibrolab.reporting import numbers
from fibrolab.reporting.figures.style import ACCENT, INK, SECOND, save_all, shortened, styled
from fibrolab.reporting.tables import audit as audit_tables
from fibrolab.reporting.tables.audit import PROTOCOLS, Baseline
from fibrolab.storage import put

FIGURES = ("audit_baselines", "audit_clusters")
VERSION = 1  # part of the cache key of the figures: increase it when a drawing changes
ROWS, COLUMNS = 6, 6  # of the contact sheet: fits an A4 page with legible text
LETTERS = 20  # of a file's name, as many as fit below a thumbnail
WIDTH = 7.1  # inches: the print area of an A4 page
TITLE, THUMBNAIL, CAPTION, GAP = 0.24, 1.08, 0.32, 0.06  # inches, from the top of a cluster's row down
MARKS = (("o", ACCENT, ACCENT), ("s", "white", SECOND), ("D", "white", INK), ("^", "white", "#009e73"))


@styled
def clusters(
    images: Sequence[Sequence[np.ndarray]], titles: Sequence[str], captions: Sequence[Sequence[str]]
) -> Figure:
    """Draw a contact sheet of clusters of copies.

    Args:
        images: For each cluster its thumbnails, uint8 (H, W) or (H, W, 3). Six clusters with six pictures
            each are drawn; the audit's table lists more.
        titles: One per cluster.
        captions: For each cluster one text per thumbnail, such as label and partition; a second line is a
            file's name, shortened in the middle.

    Returns:
        The figure, a row per cluster.
    """
    height = TITLE + THUMBNAIL + CAPTION + GAP
    total = height * max(1, min(ROWS, len(images)))
    figure = Figure(figsize=(WIDTH, total))
    for row, (pictures, title, texts) in enumerate(
        zip(images[:ROWS], titles[:ROWS], captions[:ROWS], strict=True)
    ):
        top = total - row * height
        figure.text(
            0.008, 1 - (row * height + 0.04) / total, title, va="top", fontsize=8.5, fontweight="bold"
        )
        for column, (picture, text) in enumerate(zip(pictures[:COLUMNS], texts, strict=False)):
            left, bottom = column * WIDTH / COLUMNS, top - TITLE - THUMBNAIL
            place = (left / WIDTH, bottom / total, 1 / COLUMNS, THUMBNAIL / total)
            _thumbnail(figure.add_axes(place), picture, text)
    return figure


def _thumbnail(axes: Axes, picture: np.ndarray, caption: str) -> None:
    """Draw one picture with unchanged grey levels and its caption below."""
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    axes.set_axis_off()
    axes.set_anchor("S")  # aligned to the caption, whatever the shape
    label, _, name = caption.partition("\n")
    for text, down, size, colour in ((label, 3, 7.5, INK), (shortened(name, LETTERS), 14, 6.5, "#555555")):
        where: dict[str, Any] = {
            "xycoords": "axes fraction",
            "xytext": (0, -down),
            "textcoords": "offset points",
        }
        axes.annotate(text, (0.5, 0), ha="center", va="top", fontsize=size, color=colour, **where)


@styled
def baselines(table: Mapping[str, Mapping[str, Baseline]]) -> Figure:
    """Draw the accuracy of the baselines, by the way in which the images are split.

    Args:
        table: For each baseline its accuracy under each protocol, both by the audit's names.

    Returns:
        A dot plot, a line per baseline and a marker per protocol, with intervals where they are known.
    """
    protocols = [name for name in PROTOCOLS if any(name in row for row in table.values())]
    figure = Figure(figsize=(WIDTH, 0.9 + 0.48 * len(table)), layout="constrained")
    axes = figure.add_subplot()
    for k, protocol in enumerate(protocols):
        shift = 0.16 * (k - (len(protocols) - 1) / 2)  # markers of equal accuracy do not overlap
        known = [(line + shift, row[protocol]) for line, row in enumerate(table.values()) if protocol in row]
        marker, face, edge = MARKS[k % len(MARKS)]
        for line, baseline in known:
            axes.plot(
                [100 * baseline.low, 100 * baseline.high], [line, line], color=edge, linewidth=2, alpha=0.5
            )
        style: dict[str, Any] = {
            "marker": marker,
            "mfc": face,
            "mec": edge,
            "ms": 5,
            "label": PROTOCOLS[protocol],
        }
        axes.plot(
            [100 * baseline.value for _, baseline in known], [line for line, _ in known], ls="none", **style
        )
    axes.set_yticks(range(len(table)), [numbers.baseline_name(name) for name in table])
    axes.set(xlim=(0, 101), ylim=(len(table) - 0.5, -0.5), xlabel="accuracy of the baseline [%]")
    for line in range(1, len(table)):
        axes.axhline(line - 0.5, color="#e3e7eb", linewidth=0.8, zorder=0)
    axes.grid(axis="x", color="#eef1f4", linewidth=0.8)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper left", ncols=len(protocols), handletextpad=0.2, columnspacing=1.2)
    return figure


def draw(found: Mapping[str, Any], folder: Path, images: Sequence[Sequence[np.ndarray]] = ()) -> list[Path]:
    """Draw the figures of an audit into the ``figures`` folder.

    Args:
        found: Content of ``audit.json``.
        folder: Folder of an audit or of a run.
        images: For each of the audit's worst clusters, in its order, the pictures of its samples.

    Returns:
        The PNG files written; figures of an earlier audit that can no longer be drawn are removed.
    """
    drawn: dict[str, Figure] = {}
    if table := audit_tables.protocol_baselines(found):
        drawn["audit_baselines"] = baselines(table)
    if images:
        worst = (found.get("clusters") or [])[:ROWS]
        titles = [f"{number}. {_title(cluster)}" for number, cluster in enumerate(worst, 1)]
        drawn["audit_clusters"] = clusters(images[:ROWS], titles, [_captions(cluster) for cluster in worst])
    return save_all(drawn, FIGURES, folder / keys.FIGURES)


def copy(source: Path, folder: Path) -> None:
    """Copy the figures that `draw` wrote to another folder; older ones there are replaced or removed.

    Raises:
        OSError: A file cannot be read.
        StorageError: The disk is full or the folder cannot be written.
    """
    for name in (f"{figure}{ending}" for figure in FIGURES for ending in (".png", ".svg")):
        if (drawn := source / keys.FIGURES / name).is_file():
            put(folder / keys.FIGURES / name, drawn.read_bytes())
        else:
            (folder / keys.FIGURES / name).unlink(missing_ok=True)


def _title(cluster: Mapping[str, Any]) -> str:
    """Return ``identical: 18 images, 12 F0 and 6 F2, in train and test; 6 shown``."""
    labels = " and ".join(f"{n} {label}" for label, n in cluster["labels"].items())
    places = " and ".join(cluster["partitions"])
    hidden = f"; {COLUMNS} shown" if cluster["size"] > COLUMNS else ""
    return f"{cluster['kind']}: {cluster['size']} images ({labels}) in {places}{hidden}"


def _captions(cluster: Mapping[str, Any]) -> list[str]:
    """Return label and partition of each sample, and its name in a second line."""
    marks = zip(cluster["sample_labels"], cluster["sample_partitions"], cluster["samples"], strict=True)
    return [f"{label}, {partition}\n{sample}" for label, partition, sample in marks]
