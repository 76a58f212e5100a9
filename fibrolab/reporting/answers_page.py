"""The page of predictions: answers to patients and samples beside their pictures, with what limits them."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.explanation import overlays
from fibrolab.processes import cores
from fibrolab.reporting import answer_words, html
from fibrolab.reporting.vocabulary import counted, listed, records
from fibrolab.runs import nearest_cases, typicality
from fibrolab.runs.answering import COPY, DISAGREEMENT, ERROR, PREDICTED, TYPICALITY, Rules, spellings
from fibrolab.storage import put

PAGE_FILE = "answers.html"
MOST_PICTURES, MOST_PATIENTS, MOST_ERRORS = 200, 500, 50  # that the page shows; the tables have all
WIDTH = 232  # of a picture [CSS px]
CASE_WIDTH = 72  # of the picture of a training case


@dataclass(frozen=True)
class Case:
    """A training sample near to a new one: its id, its class, and its picture, if one is stored."""

    name: str
    stage: str
    picture: html.Picture | None


@dataclass(frozen=True)
class Neighbours:
    """Training samples that the page shows beside new ones.

    Attributes:
        shown: Class and picture, JPEG, of each by its id.
        data: Name of the data set that the run was trained on.
        hashed: Whether the ids are hashed.
    """

    shown: Mapping[str, tuple[str, bytes]]
    data: str
    hashed: bool

    def case(self, name: str) -> Case:
        """Return a training sample as the page shows it."""
        stage, content = self.shown[name]
        alt = f"training picture {name}, {stage}"
        return Case(name, stage, html.stored(content, CASE_WIDTH, name, alt) if content else None)

    @property
    def reading(self) -> str:
        """Return a sentence on whose pictures they are."""
        ids = "their ids are hashed" if self.hashed else "with their ids as in the data set"
        return (
            f"Nearest training cases are pictures of patients of {self.data}, on whom the run was trained "
            f"({ids}): those nearest in the features that the network gives to its head, one picture a "
            "patient, with the recorded class. They show what the network finds similar, and are no evidence "
            "of the stage."
        )


@dataclass(frozen=True)
class Maps:
    """Maps that the page shows.

    Attributes:
        label: Name of the method.
        shows: Phrase on what its maps show.
        of: Pictures with their map over them by the id of the sample, one for each branch.
        missing: Number of samples without a map, whose files cannot be read any more.
    """

    label: str
    shows: str
    of: Mapping[str, Sequence[html.Picture]]
    missing: int

    @property
    def reading(self) -> str:
        """Return a sentence on what they show."""
        return (
            f"The maps ({self.label}) show {self.shows}, each on a scale of its own. They do not show where "
            "fibrosis is, and are not tested here; fibrolab explain tests them."
            + (f" {counted(self.missing, 'sample')} could not be explained." if self.missing else "")
        )


@dataclass(frozen=True)
class Answer:
    """The answer to a sample or patient as the page shows it.

    Attributes:
        name: Id of the sample or patient.
        predicted: The most probable class.
        lines: Sentences below it: confidence, set, end points.
        bars: Name and probability of each class.
        doubts: Reasons not to rely on it.
        picture: The picture; None of a patient, or where it cannot be shown.
        maps: Maps of the most probable class over the pictures.
        n: Number of samples of a patient.
        cases: Nearest training cases.
    """

    name: str
    predicted: str
    lines: Sequence[str]
    bars: Sequence[tuple[str, float]]
    doubts: Sequence[str] = ()
    picture: html.Picture | None = None
    maps: Sequence[html.Picture] = ()
    n: int = 0
    cases: Sequence[Case] = ()


def write(
    folder: Path,
    name: str,
    samples: pd.DataFrame,
    patients: pd.DataFrame,
    rules: Mapping[str, Rules],
    pictures: Callable[[str], html.Picture | None],
    neighbours: Neighbours | None = None,
    maps: Maps | None = None,
) -> Path:
    """Write the page.

    Args:
        folder: Folder of the answers.
        name: Name of the run.
        samples: Answers to the samples, with errors.
        patients: Answers to the patients; perhaps none.
        rules: Decision rules of the levels `sample` and `patient`.
        pictures: Function from a sample's id to its picture (`drawn`), None if there is none.
        neighbours: Training samples that the answers name as nearest, if they do.
        maps: Maps of the samples that are shown, if they were made.

    Returns:
        The page.

    Raises:
        StorageError: The disk is full or the folder cannot be written.
    """
    answered = samples[samples[ERROR] == ""]
    draw = partial(
        _answer,
        rules=rules["sample"],
        name=keys.SAMPLE_ID,
        pictures=pictures,
        neighbours=neighbours,
        maps=maps.of if maps else {},
    )
    with ThreadPoolExecutor(cores()) as pool:  # decoding and encoding release the GIL
        pictured = list(pool.map(draw, records(answered.head(MOST_PICTURES))))
    sizes = {"sample": len(samples), "patient": len(patients)}
    content = {
        "name": f"Predictions of {name}",
        "counts": listed([counted(number, of) for of, number in sizes.items() if number]),
        "cautions": _cautions(samples),
        "reading": [
            *reading(rules, DISAGREEMENT in samples, bool(samples[TYPICALITY].notna().any())),
            *([neighbours.reading] if neighbours else []),
            *([maps.reading] if maps else []),
        ],
        "patients": [
            _answer(row, rules["patient"], keys.PATIENT_ID) for row in records(patients.head(MOST_PATIENTS))
        ],
        "more_patients": max(0, len(patients) - MOST_PATIENTS),
        "samples": pictured,
        "number": len(answered),
        "errors": samples.loc[samples[ERROR] != "", ERROR].tolist(),
        "most_errors": MOST_ERRORS,
    }
    return put(folder / PAGE_FILE, html.render("answers.html.j2", content))


def drawn(pixels: np.ndarray) -> html.Picture:
    """Return a picture, uint8 (H, W) or (H, W, 3), as the page shows it, without a name."""
    return html.embedded(pixels, WIDTH, "", "")


def overlaid(picture: np.ndarray, heat: np.ndarray, signed: bool, title: str, sample: str) -> html.Picture:
    """Return a picture, uint8 (H, W) or (H, W, 3), with its map (H, W) over it, as the page shows it.

    Args:
        picture: The picture.
        heat: The map.
        signed: Whether values below 0 are evidence against the class.
        title: Name of the map.
        sample: Id of the sample.
    """
    pixels = overlays.overlay(picture, heat, overlays.scale([heat], signed))
    return replace(html.embedded(pixels, WIDTH, sample, f"{title} over {sample}"), caption=title)


def _cautions(samples: pd.DataFrame) -> list[str]:
    found = []
    if copied := int((samples[COPY] != "").sum()):
        found.append(
            f"Copies or near copies of images that the run was trained or validated on: {copied} of "
            f"{counted(len(samples), 'sample')}. The answers to them say nothing about new patients."
        )
    if unlike := int((samples[TYPICALITY] <= typicality.RATE).sum()):
        found.append(
            f"Unlike the images that the run was trained on: {unlike} of {counted(len(samples), 'sample')}. "
            "The answers to them are not to be relied on."
        )
    if failed := int((samples[ERROR] != "").sum()):
        found.append(
            f"Without an answer: {failed} of {counted(len(samples), 'sample')}. The reasons are listed below."
        )
    if said := spellings(samples):
        found.append(said)
    return found


def reading(levels: Mapping[str, Rules], several: bool, is_compared: bool) -> list[str]:
    """Return sentences on how the answers are to be read.

    Args:
        levels: Decision rules of the levels `sample` and `patient`.
        several: Whether the run has several networks.
        is_compared: Whether samples unlike the training images are recognised.
    """
    rules, of_patients = levels["sample"], levels["patient"]
    found = [
        "Confidence is the probability of the most probable class at the temperature that fits the run's "
        "validation samples."
    ]
    if no_sets := bool(np.isnan(rules.limit)):
        found.append("The run has no validation samples, so that there are no prediction sets.")
    elif np.isinf(rules.limit):
        found.append("The run has too few validation patients for prediction sets: each holds every class.")
    else:
        found.append(
            f"The prediction set holds the true class of at least {100 * (1 - rules.alpha):.3g} % of new "
            "patients who are like those of the run's validation; of patients of another hospital or device "
            "this is not known."
        )
    if rules.thresholds:
        values = _thresholds(rules)
        if of_patients.thresholds and _thresholds(of_patients) != values:
            values = f"{values}; of patients, {_thresholds(of_patients)}"
        which = "one half, as the run has no validation" if no_sets else "Youden's threshold on validation"
        found.append(f"End points are positive from {which}: {values}.")
    if is_compared:
        found.append(
            f"A sample is called unlike the training images if at most {100 * typicality.RATE:.3g} % of the "
            "run's validation samples are as far from them, in the network's features or in size and grey "
            "levels."
        )
    else:
        found.append(
            "Samples unlike the training images are not recognised: the run has too few validation samples, "
            "or none stored."
        )
    if several:
        found.append("Disagreement is the proportion of networks whose class is not that of their mean.")
    return found


def _thresholds(rules: Rules) -> str:
    return listed([f"{name} {value:.3g}" for name, value in rules.thresholds.items()])


def _answer(
    row: Mapping[str, Any],
    rules: Rules,
    name: str,
    pictures: Callable[[str], html.Picture | None] | None = None,
    neighbours: Neighbours | None = None,
    maps: Mapping[str, Sequence[html.Picture]] = MappingProxyType({}),
) -> Answer:
    found = pictures(row[name]) if pictures is not None else None
    title = str(row[name])
    picture = None if found is None else replace(found, name=title, alt=f"picture of {title}")
    if name == keys.PATIENT_ID and row.get(keys.VISIT_ID):
        title = f"{title}, visit {row[keys.VISIT_ID]}"
    bars = [(each, float(row[f"p_{each}"])) for each in rules.classes]
    nearest = [row[column] for column in nearest_cases.COLUMNS if row.get(column)]
    cases = [neighbours.case(each) for each in nearest] if neighbours else []
    return Answer(
        title,
        row[PREDICTED],
        answer_words.lines(row, rules),
        bars,
        answer_words.doubts(row),
        picture,
        maps.get(row[name], ()),
        row.get("n", 0),
        cases,
    )
