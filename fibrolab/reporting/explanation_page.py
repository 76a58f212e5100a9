"""The page of an explanation: verdicts of the tests, panels, mean maps, and a gallery with a filter."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.explanation import maps as map_files
from fibrolab.reporting import explanation_record, html, run_sentences, vocabulary
from fibrolab.reporting.explanation_record import MapSet, Record
from fibrolab.reporting.figures import explanation as figures
from fibrolab.reporting.tables import explanation as sheets
from fibrolab.runs import trained_run as runs
from fibrolab.runs.trained_run import Run
from fibrolab.storage import put

WIDEST, THUMBNAIL = 920, 136  # [CSS px]
TITLES = {
    "panels": "Samples",
    "means": "Mean maps",
    "time": "Heat over time",
    "arms": "The same samples in several runs",
    "gallery": "Gallery",
    "tests": "Tests of the maps",
    "files": "Files",
}
LEVELS = {True: ("ok", "✓"), False: ("fail", "✕"), None: ("warning", "!")}  # by whether a method passed
FAILS = "map_fails_its_tests"  # finding that repeats a verdict, which the page shows anyway
FILES = {  # beside the page
    "maps.csv": "the samples, their predictions, and the rectangle of each picture that the network saw",
    "maps": "the maps as arrays (NumPy, float16), one row a sample",
    "overlays": "overlays in the original pictures' pixels, named by the row of maps.csv",
    "films": "overlays of films (MP4)",
    "dicom": "overlays as DICOM Secondary Capture",
    "tests.csv": "the results of the tests",
    "figures": "the figures of this page as PNG and SVG",
}


@dataclass(frozen=True)
class Verdict:
    """Verdict on the maps of one method and branch: ``ok``, ``fail``, or ``warning`` if it is not known."""

    level: str
    sign: str
    text: str


@dataclass(frozen=True)
class Sample:
    """A sample of the gallery: its picture, its overlays by the number of the map, and its filters."""

    picture: html.Picture
    overlays: Mapping[int, html.Picture]
    sample_id: str
    outcome: str
    stage: int
    is_right: bool | None


def write(folder: Path) -> Path:
    """Write the page of an explanation into its folder.

    Args:
        folder: Folder of the run, or of the output, whose pictures were drawn.

    Returns:
        The page, ``explanation/explanation.html`` in that folder.

    Raises:
        ConfigError: There are no maps.
        DataError: The record of the pictures is missing or damaged.
        StorageError: The disk is full or the folder cannot be written.
    """
    run, place = runs.read(folder), folder / keys.EXPLANATION
    record, table = explanation_record.read(place), map_files.read(folder).table
    content: dict[str, Any] = {
        "name": record.name,
        "lead": f"{vocabulary.counted(len(table), 'sample')}; "
        f"{vocabulary.listed(list(dict.fromkeys(each.label for each in record.sets)))}",
        "verdicts": verdicts(run, record),
        "findings": run_sentences.explanation_cautions(run, without=(FAILS,)),
        "sheets": sheets.of_maps(run, {(each.method, each.branch): each.meaning for each in record.sets}),
        "figures": pictures(place, record),
        "gallery": _gallery(place, record, table),
        "number": len(table),
        "classes": record.classes,
        "sets": record.sets,
        "beside": {name: text for name, text in FILES.items() if (place / name).exists()},
        "report": f"../{keys.REPORT_FILE}" if (folder / keys.REPORT_FILE).is_file() else "",
    }
    filled = {"tests": content["sheets"], "files": content["beside"], **content, **content["figures"]}
    content["titles"] = {name: title for name, title in TITLES.items() if filled[name]}
    return put(folder / keys.EXPLANATION_PAGE, html.render("explanation.html.j2", content))


def section(run: Run) -> dict[str, Any]:
    """Return the section of a run's report: verdicts on the maps, figures of the first of them, the page.

    Args:
        run: The run.

    Returns:
        Values of the template; empty if the run has no pictures of maps, or their record is damaged.
    """
    place = run.folder / keys.EXPLANATION
    try:
        record = explanation_record.read(place)
    except DataError:
        return {}
    first = replace(record, sets=record.sets[:1])
    drawn = pictures(place, first)
    return {
        "verdicts": verdicts(run, record),
        "figures": [*drawn["panels"], *drawn["means"], *drawn["time"]],
        "page": keys.EXPLANATION_PAGE if (run.folder / keys.EXPLANATION_PAGE).is_file() else "",
    }


def verdicts(run: Run, record: Record) -> list[Verdict]:
    """Return the verdict of the tests of each method and branch; a failure is never left out."""
    known = sheets.verdicts(run)
    found = []
    for each in record.sets:
        row = known.get((each.method, each.branch))
        if row is None:
            text = "not tested, so that it is not known whether these maps depend on what the network learnt."
            found.append(Verdict("warning", "!", f"{each.meaning}: {text}"))
        else:
            level, sign = LEVELS[sheets.passed(row)]
            found.append(Verdict(level, sign, str(row["sentence"])))
    return found


def pictures(place: Path, record: Record) -> dict[str, list[html.Picture]]:
    """Embed the figures of an explanation by their section: panels, means, time, arms.

    Args:
        place: Folder of the explanation.
        record: Its pictures.
    """
    found: dict[str, list[html.Picture]] = {}
    for section, (prefix, caption) in figures.CAPTIONS.items():
        paths = [(each.meaning, place / keys.FIGURES / f"{prefix}_{each.name}.png") for each in record.sets]
        if section == "arms":
            paths = [("", path) for path in sorted((place / keys.FIGURES).glob(f"{prefix}_*.png"))]
        found[section] = [
            html.photograph(path, WIDEST, f"{meaning}. {caption}" if meaning else caption)
            for meaning, path in paths
            if path.is_file()
        ]
    return found


def _gallery(place: Path, record: Record, table: pd.DataFrame) -> list[Sample]:
    """Return the samples of the gallery, the chosen ones first."""
    order = [*record.chosen, *(row for row in record.shown if row not in record.chosen)]
    return [found for row in order if (found := _sample(place, record, row, table.iloc[row])) is not None]


def _sample(place: Path, record: Record, row: int, values: pd.Series) -> Sample | None:
    def thumbnails(folder: str, each: MapSet, name: str, alt: str) -> html.Picture | None:
        path = place / folder / name / f"{row:05d}.jpg"
        return html.photograph(path, THUMBNAIL, alt=alt) if path.is_file() else None

    found = {
        k: picture
        for k, each in enumerate(record.sets)
        if (picture := thumbnails(explanation_record.OVERLAYS, each, each.name, f"overlay, {each.meaning}"))
    }
    if not found:
        return None
    first = record.sets[next(iter(found))]
    picture = thumbnails(explanation_record.ORIGINALS, first, first.branch, "original")
    truth, predicted = int(values[keys.Y_TRUE]), int(values["predicted"])
    outcome = figures.outcome(
        record.classes[truth] if truth >= 0 else "", record.classes[predicted], float(values["probability"])
    )
    is_right = truth == predicted if truth >= 0 else None
    assert picture is not None, "originals are written with their overlays"
    return Sample(
        picture, found, str(values[keys.SAMPLE_ID]), outcome, truth if truth >= 0 else predicted, is_right
    )
