"""The page of a study of several arms: verdict, tables, differences, learning curves, audit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fibrolab import keys
from fibrolab.reporting import html
from fibrolab.reporting.figures import picture_grid
from fibrolab.reporting.figures import study as figures
from fibrolab.reporting.figures.style import save
from fibrolab.reporting.tables import table_files
from fibrolab.reporting.tables.sheet import Sheet
from fibrolab.storage import put

PAGE_FILE = "study.html"
PROTOCOLS = "protocols"  # figure of all protocols together
CAPTIONS = {
    PROTOCOLS: "Accuracy on the test samples with 95 % confidence intervals: networks filled, baselines "
    "without a network hollow.",
    "differences": "Differences between arms with 95 % confidence intervals; filled where the corrected p is "
    "below .05.",
    "curves": "Loss and accuracy by epoch, mean over the trainings of an arm.",
}


@dataclass(frozen=True)
class Section:
    """The results of one protocol and task.

    Attributes:
        title: Its title.
        leaks: Reason why its test is not valid; empty if it is.
        sheets: Its tables, the main one first.
        findings: Sentences of the audit.
        verdict: Verdict of the audit; empty if none is known.
        differences: As `figures.study.differences` takes them; None without differences.
        history: As `figures.study.curves` takes it; None without curves.
        pictures: Files in the folder of the figures that are there already, with their captions.
    """

    title: str
    leaks: str
    sheets: Sequence[Sheet]
    findings: Sequence[str]
    verdict: str
    differences: pd.DataFrame | None
    history: pd.DataFrame | None
    pictures: Sequence[tuple[str, str]] = ()


def write(
    folder: Path,
    title: str,
    source: str,
    lead: str,
    verdict: Sequence[str],
    protocols: pd.DataFrame | None,
    sections: Sequence[Section],
    published: Sequence[Sheet],
) -> Path:
    """Write the figures, the tables as CSV and LaTeX, and the page of a study.

    Args:
        folder: Folder for all files.
        title: Title of the study.
        source: Paper that it repeats; empty if none.
        lead: Sentence below the title.
        verdict: Sentences of the verdict.
        protocols: As `figures.study.protocols` takes them; None without accuracies.
        sections: Results by protocol and task.
        published: Published numbers that are not comparable with ours.

    Returns:
        The page, ``study.html`` in that folder.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    shown = []
    if protocols is not None:
        save(figures.protocols(protocols), folder / keys.FIGURES / f"{PROTOCOLS}.png")
    for number, section in enumerate(sections):
        drawn: Mapping[str, pd.DataFrame | None] = {
            "differences": section.differences,
            "curves": section.history,
        }
        for name, table in drawn.items():
            if table is not None:
                save(getattr(figures, name)(table), folder / keys.FIGURES / f"{name}_{number + 1}.png")
        names = [f"{name}_{number + 1}" for name in drawn]
        pictures = [
            html.printed(folder / keys.FIGURES / file, picture_grid.DPI, caption)
            for file, caption in section.pictures
        ]
        shown.append({"number": number + 1, "section": section, "figures": names, "pictures": pictures})
    for sheet in [*(sheet for section in sections for sheet in section.sheets), *published]:
        if sheet.lines:
            table_files.save(sheet, folder / table_files.FOLDER)
    content = {
        "name": title,
        "source": source,
        "lead": lead,
        "verdict": verdict,
        "protocols": None if protocols is None else PROTOCOLS,
        "sections": shown,
        "published": [sheet for sheet in published if sheet.lines],
        "figures": html.pictures(folder / keys.FIGURES, lambda name: CAPTIONS[name.partition("_")[0]]),
        "tables_folder": table_files.FOLDER,
    }
    return put(folder / PAGE_FILE, html.render("study.html.j2", content))
