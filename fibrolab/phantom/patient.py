"""Patients of the synthetic clinic: stage and scores, body, scanner and its settings.

Images are drawn from `Body` and `Exam`, which do not contain the stage.
"""

from dataclasses import dataclass

import numpy as np

from fibrolab.phantom import measurements, truth
from fibrolab.phantom.beam import Scanner
from fibrolab.phantom.measurements import Blood

# Two scanners at two sites, for external validation: they differ in resolution, contrast, geometry and in the
# brightness at depth.
SCANNERS = (
    Scanner("convex-a", "north", 3.4, 0.50, 20.0, 60.0, 66.0, 60.0),
    Scanner("convex-b", "south", 2.6, 0.60, 17.0, 50.0, 72.0, 70.0, gain_slope_db_cm=0.6),
)
SCANNER_PROBABILITIES = (0.7, 0.3)
DEPTHS_MM = (110.0, 120.0, 130.0, 140.0, 150.0, 160.0)
# Numbers of independent random streams.
STREAM_STAGES, STREAM_PATIENT, STREAM_IMAGE, STREAM_CHANNELS, STREAM_MEASURES = range(5)
STREAM_CAPTURE, STREAM_CLIP, STREAM_LESION_CLASSES, STREAM_LESION, STREAM_FAULTS = range(5, 10)
STREAM_MASKED = 10


@dataclass(frozen=True)
class Body:
    """Acoustic properties of a patient."""

    severity: float  # of the fibrosis, (0, 1)
    fat_mm: float  # under the skin
    muscle_mm: float
    liver_attenuation: float  # [dB/cm/MHz]
    liver_echo_db: float  # of the liver without the effect of fibrosis, but with that of fat
    vessel_scale: float


@dataclass(frozen=True)
class Exam:
    """Scanner and its settings for this patient."""

    scanner: Scanner
    depth_mm: float
    gain_db: float


@dataclass(frozen=True)
class Patient:
    """One patient at one visit; everything that depends on the stage depends on it through `scores`.

    Attributes:
        number: Number in the cohort, from 0.
        stage: METAVIR stage, 0..4.
        scores: Latent score in every channel of `truth.SPREADS`.
        body: Acoustic properties; its severity is a function of the score of `truth.GREY`.
        exam: Scanner and settings.
        age_years: Age.
        sex: F or M.
        lsm_kpa: Liver stiffness, a mean of five readings.
        blood: Serum values.
    """

    number: int
    stage: int
    scores: dict[str, float]
    body: Body
    exam: Exam
    age_years: int
    sex: str
    lsm_kpa: float
    blood: Blood


def generator(seed: int, *path: int) -> np.random.Generator:
    """Return a random stream that depends only on the cohort's seed and the path within it."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=path))


def balanced_class(seed: int, stream: int, number: int, classes: int = len(truth.CLASSES)) -> int:
    """Return the class of a patient: each block of consecutive patients has every class once."""
    block, position = divmod(number, classes)
    return int(generator(seed, stream, block).permutation(classes)[position])


def stage_of(seed: int, number: int) -> int:
    """Return the METAVIR stage of a patient, 0..4."""
    return balanced_class(seed, STREAM_STAGES, number)


def patient(seed: int, number: int, separability: float, stage: int | None = None) -> Patient:
    """Return the patient of that number, for any size of the cohort, with a given or assigned stage."""
    rng = generator(seed, STREAM_PATIENT, number)
    stage = stage_of(seed, number) if stage is None else stage
    scores = _scores(seed, number, stage, separability)
    body = Body(
        severity=truth.severity(scores[truth.GREY]),
        fat_mm=rng.gamma(6.0, 1.7),
        muscle_mm=rng.uniform(5.0, 10.0),
        liver_attenuation=rng.normal(0.56, 0.06),
        liver_echo_db=rng.normal(0.0, 1.5),
        vessel_scale=rng.uniform(0.8, 1.2),
    )
    exam = Exam(
        scanner=SCANNERS[rng.choice(len(SCANNERS), p=SCANNER_PROBABILITIES)],
        depth_mm=float(rng.choice(DEPTHS_MM)),
        gain_db=rng.normal(0.0, 2.5),
    )
    age, sex = int(rng.integers(25, 80)), str(rng.choice(["F", "M"]))
    rng = generator(seed, STREAM_MEASURES, number)
    lsm_kpa, tests = (
        measurements.lsm(scores[truth.STIFFNESS], rng),
        measurements.blood(scores[truth.SERUM], rng),
    )
    return Patient(number, stage, scores, body, exam, age, sex, lsm_kpa, tests)


def _scores(seed: int, number: int, stage: int, separability: float) -> dict[str, float]:
    deviates = generator(seed, STREAM_CHANNELS, number).standard_normal(len(truth.SPREADS))
    return {
        channel: truth.score(stage, separability, deviate, channel)
        for channel, deviate in zip(truth.SPREADS, deviates, strict=True)
    }
