"""Who comes to the clinic: stage and score, body, and the scanner with its settings.

`Body` and `Exam` are all that the drawing sees: the stage is not among them.
"""

from dataclasses import dataclass

import numpy as np

from fibrolab.data.phantom import truth
from fibrolab.data.phantom.beam import Scanner

SCANNERS = (
    Scanner("convex-a", "north", 3.2, 0.50, 20.0, 60.0, 66.0, 62.0),
    Scanner("convex-b", "south", 2.8, 0.55, 18.0, 50.0, 70.0, 66.0),
    Scanner("convex-c", "east", 3.6, 0.45, 22.0, 60.0, 60.0, 58.0),
)
DEPTHS_MM = (120.0, 135.0, 150.0)
STREAM_STAGES, STREAM_PATIENT, STREAM_IMAGE = range(3)  # random streams that never share a number


@dataclass(frozen=True)
class Body:
    """What the sound meets in a patient."""

    severity: float  # of the fibrosis, (0, 1)
    fat_mm: float  # under the skin
    muscle_mm: float
    liver_attenuation: float  # [dB/cm/MHz]
    liver_echo_db: float  # of the liver that fibrosis has not changed, fat included
    vessel_scale: float


@dataclass(frozen=True)
class Exam:
    """The scanner and how it is set for this patient."""

    scanner: Scanner
    depth_mm: float
    gain_db: float


@dataclass(frozen=True)
class Patient:
    """One patient at one visit; all but the body's severity is independent of the stage."""

    number: int
    stage: int
    score: float
    body: Body
    exam: Exam
    age_years: int
    sex: str


def generator(seed: int, *path: int) -> np.random.Generator:
    """A random stream that depends on nothing but the cohort's seed and the path within it."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=path))


def stage_of(seed: int, number: int) -> int:
    """Stage of a patient: every five in a row are a random order of F0..F4, so any cohort is balanced."""
    block, place = divmod(number, len(truth.CLASSES))
    return int(generator(seed, STREAM_STAGES, block).permutation(len(truth.CLASSES))[place])


def patient(seed: int, number: int, separability: float) -> Patient:
    """The patient of that number, whatever the size of the cohort."""
    rng = generator(seed, STREAM_PATIENT, number)
    stage = stage_of(seed, number)
    score = truth.score(stage, separability, rng.standard_normal())
    body = Body(
        severity=truth.severity(score),
        fat_mm=rng.gamma(6.0, 1.7),
        muscle_mm=rng.uniform(5.0, 10.0),
        liver_attenuation=rng.normal(0.56, 0.06),
        liver_echo_db=rng.normal(0.0, 1.5),
        vessel_scale=rng.uniform(0.8, 1.2),
    )
    exam = Exam(
        scanner=SCANNERS[rng.integers(len(SCANNERS))],
        depth_mm=float(rng.choice(DEPTHS_MM)),
        gain_db=rng.normal(0.0, 2.5),
    )
    age, sex = int(rng.integers(25, 80)), str(rng.choice(["F", "M"]))
    return Patient(number, stage, score, body, exam, age, sex)
