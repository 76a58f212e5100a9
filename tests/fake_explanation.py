"""Maps of a run that was explained, made up: one warm spot a sample, on pictures of noise."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.audit.finding import Finding
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.formats import video
from fibrolab.data.media import Media
from fibrolab.data.preprocess import Preprocess
from fibrolab.explanation.maps import FOLDER, MapWriter
from fibrolab.explanation.picture_maps import Source
from fibrolab.phantom.files import Header
from fibrolab.phantom.files import write as write_file
from fibrolab.storage import write_table

CLASSES = ("F0", "F1", "F2")
SIDE, FRAMES, STEPS = 40, 6, 3


def table(samples: int, classes: Sequence[str] = CLASSES, target: str = "") -> pd.DataFrame:
    """Return `maps.csv`: two of three predictions are right; the target is the predicted class by default."""
    rows = np.arange(samples)
    truth = rows % len(classes)
    predicted = np.where(rows % 3 == 2, (truth + 1) % len(classes), truth)
    ids = [f"s{row:03d}" for row in rows]
    probability = 0.4 + 0.5 * rows / max(samples, 1)
    scores = np.repeat((1 - probability)[:, None], len(classes), axis=1) / (len(classes) - 1)
    scores[rows, predicted] = probability
    return pd.DataFrame(
        {
            keys.SAMPLE_ID: ids,
            keys.GROUP_ID: ids,
            keys.PATIENT_ID: "",
            keys.PARTITION: keys.TEST,
            keys.Y_TRUE: truth,
            "predicted": predicted,
            "probability": probability,
            **dict(zip(keys.probability_columns(len(classes)), scores.T, strict=True)),
            "target": [target or classes[k] for k in predicted],
            **dict.fromkeys(("picture_width", "picture_height", "width", "height"), SIDE),
            **dict.fromkeys(("left", "top"), 0),
        }
    )


def spots(samples: int, side: int = 8) -> np.ndarray:
    """Return a warm spot for each sample, float32 (N, side, side)."""
    rows, columns = np.mgrid[:side, :side]
    found = [np.exp(-((rows - k % side) ** 2 + (columns - 3 * k % side) ** 2) / 6) for k in range(samples)]
    return np.stack(found).astype(np.float32)


def write(folder: Path, maps: Mapping[tuple[str, str], np.ndarray], rows: pd.DataFrame) -> Path:
    """Write the maps of some methods and branches and their table into a run's folder."""
    with MapWriter(folder, len(rows)) as writer:
        for (method, branch), values in maps.items():
            writer.add(method, branch, values)
        writer.finish(rows)
    return folder


def stills(folder: Path, rows: pd.DataFrame, suffix: str = ".png") -> Source:
    """Write a picture of noise for each sample, PNG or DICOM, and return them as a branch's source."""
    media = {}
    for k, sample_id in enumerate(rows[keys.SAMPLE_ID]):
        pixels = np.random.default_rng(k).integers(0, 256, (SIDE, SIDE), np.uint8)
        path = folder / f"{sample_id}{suffix}"
        write_file(path, pixels, Header(sample_id, f"patient of {sample_id}", "F", 50, "scanner", 0.0))
        media[sample_id] = Media(path)
    return Source(media, Preprocess(size=32))


def films(folder: Path, rows: pd.DataFrame) -> Source:
    """Write a film of noise for each sample, and return them as a branch's source."""
    media = {}
    for k, sample_id in enumerate(rows[keys.SAMPLE_ID]):
        pixels = np.random.default_rng(k).integers(0, 256, (FRAMES, SIDE, SIDE), np.uint8)
        video.write(folder / f"{sample_id}.mkv", pixels, fps=8)
        media[sample_id] = Media(folder / f"{sample_id}.mkv")
    return Source(media, Preprocess(size=32), Segment("uniform", FRAMES))


def tested(folder: Path) -> None:
    """Write the tests of Grad-CAM, which passes, and of occlusion, which fails, and findings."""
    rows = []
    for method, label, good in (("gradcam", "Grad-CAM", True), ("occlusion", "Occlusion", False)):
        said = "passes all tests." if good else "fails randomised weights (its maps survive random weights)."
        verdict = {"test": "verdict", "measure": "", "passed": good, "sentence": f"{label}: {said}"}
        found = [
            {"test": test, "measure": "SSIM", "value": 0.41, "low": 0.35, "high": 0.5, "reference": 0.5}
            | {"passed": good, "sentence": "A sentence."}
            for test in ("randomised weights", "randomised labels")
        ]
        rows += [{"method": method, "branch": "image"} | row for row in (verdict, *found)]
    write_table(pd.DataFrame(rows), folder / FOLDER / "tests.csv")
    findings = [
        Finding("heat_outside", "warning", "38\u00a0% of the heat lies outside the sector."),
        Finding("heat_border", "note", "2\u00a0% of the heat lies on the border."),
    ]
    (folder / FOLDER / "findings.json").write_text(json.dumps([asdict(each) for each in findings]))
