"""Answers as DICOM objects: a structured report by TID 1500 (PS3.16), and the picture with its answer.

Both belong to the patient and study of their source and refer to it. highdicom builds them. Classes, sets and
end points have codes of our own scheme, since no public one has METAVIR stages with a model's probabilities.
"""

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fibrolab
from fibrolab import keys
from fibrolab.explanation import secondary_capture
from fibrolab.explanation.secondary_capture import CAUTION, LONG_STRING, Description
from fibrolab.reporting import answer_words
from fibrolab.runs.answering import (
    ANSWERED,
    CONFIDENCE,
    COPY,
    DISAGREEMENT,
    POSITIVE,
    PREDICTED,
    SET,
    TYPICALITY,
    UNLIKE,
    USE,
    Rules,
)

if TYPE_CHECKING:
    import pydicom
    from highdicom.sr import CodedConcept, MeasurementReport

SCHEME = "99FIBROLAB"  # private coding schemes begin with 99 (PS3.16, 8.2)
SERIES_NUMBER = 9100  # after those of the scanner and of overlays
LEAST_WIDTH = 480  # of a picture with its answer, so that the text fits [pixels]
LINE = 22  # height of a line of text [pixels]


def report(source: Path, row: Mapping[str, Any], rules: Rules, run: str, frame: int | None = None) -> bytes:
    """Return the structured report on one sample as the content of a DICOM file.

    Args:
        source: DICOM file of the picture or film.
        row: The answer to the sample (`sample_answers.of`).
        rules: Rules of the level of samples.
        run: Name or id of the run.
        frame: Number of the source's frame, from 0; None for a picture and a whole film.

    Raises:
        ConfigError: highdicom is not installed.
        DataError: The header of the source cannot be referred to.
    """
    from highdicom.sr import ComprehensiveSR

    original = secondary_capture.header(source)
    image = secondary_capture.evidence(original)
    identity = (image.SOPInstanceUID, run, row[keys.SAMPLE_ID], frame, row[ANSWERED], row[PREDICTED])
    found = ComprehensiveSR(
        evidence=[image],
        content=_content(image, row, rules, run, frame)[0],
        series_instance_uid=secondary_capture.uid("report series", image.StudyInstanceUID, run),
        series_number=SERIES_NUMBER,
        sop_instance_uid=secondary_capture.uid("report", *identity),
        instance_number=int(image.InstanceNumber),
        manufacturer="fibrolab",
        is_complete=True,
    )
    when = datetime.fromisoformat(row[ANSWERED])
    for name in ("Content", "InstanceCreation"):
        setattr(found, f"{name}Date", when.strftime("%Y%m%d"))
        setattr(found, f"{name}Time", when.strftime("%H%M%S"))
    for equipment in found.ContributingEquipmentSequence:  # highdicom itself
        setattr(equipment, "ContributionDateTime", when.strftime("%Y%m%d%H%M%S"))  # noqa: B010
    found.SeriesDescription = _description(run)
    content = io.BytesIO()
    found.save_as(content, enforce_file_format=True)
    return content.getvalue()


def capture(
    source: Path,
    pixels: np.ndarray,
    row: Mapping[str, Any],
    rules: Rules,
    run: str,
    frame: int | None = None,
) -> bytes:
    """Return the picture of a sample above its answer as the content of a DICOM file (Secondary Capture).

    Args:
        source: DICOM file of the picture or film.
        pixels: The picture, uint8 (H, W) or (H, W, 3).
        row: The answer to the sample.
        rules: Rules of the level of samples.
        run: Name or id of the run.
        frame: Number of the source's frame, from 0; None for a picture.

    Raises:
        ConfigError: highdicom is not installed.
        DataError: The header of the source cannot be referred to.
    """
    words = Description(f"Answer {row[PREDICTED]}", run)
    return secondary_capture.encoded(source, drawn(pixels, row, rules, run), words, frame)


def drawn(pixels: np.ndarray, row: Mapping[str, Any], rules: Rules, run: str) -> np.ndarray:
    """Return a picture with its answer written below it, uint8 (H, W, 3)."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(pixels).convert("RGB")
    width = max(picture.width, LEAST_WIDTH)
    font = ImageFont.load_default(LINE * 0.7)
    said = [str(row[PREDICTED]), *answer_words.lines(row, rules)]
    doubts = [f"caution: {each}" for each in answer_words.doubts(row)]
    text = [
        line
        for sentence in (", ".join(said), *doubts, f"fibrolab, run {run}", USE.upper())
        for line in _wrapped(sentence, width - LINE, font)
    ]
    whole = Image.new("RGB", (width, picture.height + LINE * (len(text) + 1)))
    whole.paste(picture, ((width - picture.width) // 2, 0))
    pen = ImageDraw.Draw(whole)
    for number, line in enumerate(text):
        pen.text((LINE // 2, picture.height + LINE // 2 + LINE * number), line, "white", font)
    return np.asarray(whole)


def _wrapped(sentence: str, width: int, font: Any) -> list[str]:
    """Return a sentence in lines that are not wider than a width [pixels], as far as its words allow."""
    found = [""]
    for word in sentence.split():
        longer = f"{found[-1]} {word}".strip()
        if found[-1] and font.getlength(longer) > width:
            found.append(word)
        else:
            found[-1] = longer
    return found


def _description(run: str) -> str:
    return f"{f'Answer of run {run}'[: LONG_STRING - len(CAUTION) - 2]}: {CAUTION}"


def _content(
    image: "pydicom.Dataset", row: Mapping[str, Any], rules: Rules, run: str, frame: int | None
) -> "MeasurementReport":
    """Return the tree of the report: the device, the procedure, and one group of measurements."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    device = sr.DeviceObserverIdentifyingAttributes(
        uid=secondary_capture.uid("device", run),
        name="fibrolab",
        manufacturer_name="fibrolab",
        model_name=_short(f"run {run}"),
    )
    tracked = secondary_capture.uid("sample", image.SOPInstanceUID, run, row[keys.SAMPLE_ID])
    frames = None if frame is None else [frame + 1]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=tracked, identifier=str(row[keys.SAMPLE_ID])),
        finding_type=codes.SCT.Fibrosis if rules.ordered else None,
        finding_sites=[sr.FindingSite(codes.SCT.LiverStructure)],
        algorithm_id=sr.AlgorithmIdentification(
            "fibrolab", fibrolab.__version__, parameters=[f"run {run}", f"answered {row[ANSWERED]}", USE]
        ),
        measurements=_measurements(row, rules),
        qualitative_evaluations=_evaluations(row, rules),
        source_images=[
            sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID, frames),
        ],
    )
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(codes.DCM.Device, device)
        ),
        procedure_reported=codes.SCT.DiagnosticUltrasonography,
        imaging_measurements=[group],
    )


def _measurements(row: Mapping[str, Any], rules: Rules) -> "Sequence[Any]":
    """Return the numbers of an answer, each without a unit."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    named = {f"p_{name}": f"Probability of {name}" for name in rules.classes}
    named[CONFIDENCE] = "Confidence in the predicted class"
    named |= {point: f"Score of the end point {point}" for point in rules.endpoints}
    named |= {TYPICALITY: "Typicality among validation samples", DISAGREEMENT: "Disagreement of networks"}
    return [
        sr.Measurement(_code(name, meaning), float(np.round(row[name], 6)), codes.UCUM.NoUnits)
        for name, meaning in named.items()
        if row.get(name) is not None and np.isfinite(row[name])
    ]


def _evaluations(row: Mapping[str, Any], rules: Rules) -> "Sequence[Any]":
    """Return the classes of an answer, the decisions on end points, and what limits it."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    def evaluated(name: str, meaning: str, value: Any) -> Any:
        return sr.QualitativeEvaluation(_code(name, meaning), value)

    found = [
        evaluated("use", "Permitted use", _code("research", USE.capitalize())),
        evaluated(PREDICTED, "Most probable class", _class(row[PREDICTED])),
    ]
    found += [evaluated(SET, "Class in the prediction set", _class(name)) for name in rules.members(row[SET])]
    for point in rules.thresholds:
        decided = codes.SCT.Positive if row[point + POSITIVE] else codes.SCT.Negative
        found.append(evaluated(point + POSITIVE, f"Decision on the end point {point}", decided))
    if row.get(UNLIKE) is not None:
        answer = codes.SCT.Yes if row[UNLIKE] else codes.SCT.No
        found.append(evaluated(UNLIKE, "Unlike the training images", answer))
    copied = codes.SCT.Yes if row.get(COPY) else codes.SCT.No
    found.append(evaluated(COPY, "Copy of a training or validation image", copied))
    return found


def _class(name: str) -> "CodedConcept":
    return _code(name, f"Class {name}")


def _code(value: str, meaning: str) -> "CodedConcept":
    """Return a code of our own scheme; a value of more than 16 characters is written as a long one."""
    from highdicom.sr import CodedConcept

    return CodedConcept(value, SCHEME, _short(meaning))


def _short(text: str) -> str:
    return text[:LONG_STRING]
