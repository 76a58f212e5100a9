"""The ground truth of the phantom: formulas, patients, and the files that the generator writes."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, spearmanr
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score

from fibrolab import keys
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.readers import decode_clip, read_image
from fibrolab.phantom import measurements, patient, source, truth

FOLDS = RepeatedStratifiedKFold(n_splits=5, n_repeats=4, random_state=0)
CHANNELS = (("grey",), ("stiffness",), ("grey", "stiffness"), ("grey", "motion", "serum"))


# In formulas


def scores(stages: np.ndarray, separability: float, channels: tuple[str, ...]) -> np.ndarray:
    deviates = np.random.default_rng(0).standard_normal((stages.size, len(channels)))
    rows = zip(stages, deviates, strict=True)
    return np.array(
        [[truth.score(k, separability, z, c) for z, c in zip(row, channels, strict=True)] for k, row in rows]
    )


def best_stage(
    observed: np.ndarray, separability: float, channels: tuple[str, ...], prior: tuple | None = None
) -> np.ndarray:
    """Return the most probable stage for the scores (N, C) of some channels, from their densities."""
    with np.errstate(divide="ignore"):
        likely = np.tile(np.log(prior or [0.2] * 5), (len(observed), 1))
    for column, channel in zip(observed.T, channels, strict=True):
        if separability:
            spread = truth.SPREADS[channel] / separability
            disease = truth.MIDDLE + column * np.sqrt(truth.STAGE_VARIANCE + spread**2)
            likely += norm.logpdf(disease[:, None], np.arange(5), spread)
    return likely.argmax(axis=1)


@pytest.mark.parametrize("prior", [None, (0.3, 0.1, 0.1, 0.1, 0.4), (0.5, 0, 0.01, 0, 0.49)])
@pytest.mark.parametrize("separability", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("channels", CHANNELS)
def test_the_best_accuracy_is_that_of_the_bayes_decision(
    separability: float, prior: tuple | None, channels: tuple[str, ...]
) -> None:
    stages = np.random.default_rng(1).choice(5, size=20_000, p=prior)
    decided = best_stage(scores(stages, separability, channels), separability, channels, prior)
    best = truth.best_accuracy(separability, channels, prior)
    assert np.mean(decided == stages) == pytest.approx(best, abs=0.012)


@given(
    st.floats(0, 3),
    st.floats(0, 3),
    st.sampled_from(CHANNELS),
    st.lists(st.floats(0, 1), min_size=5, max_size=5).filter(lambda prior: sum(prior) > 0.01),
)
def test_the_best_accuracy_is_above_the_majority_and_increases(
    one: float, other: float, channels: tuple[str, ...], prior: list
) -> None:
    low, high = (truth.best_accuracy(s, channels, prior) for s in sorted((one, other)))
    assert max(prior) / sum(prior) - 1e-9 <= low <= high + 1e-9 <= 1 + 2e-9


@given(st.floats(0.01, 3))
def test_two_channels_allow_a_higher_accuracy_than_each(separability: float) -> None:
    apart, whole = CHANNELS[:2], CHANNELS[2]
    assert truth.best_accuracy(separability, whole) >= max(
        truth.best_accuracy(separability, channel) for channel in apart
    )
    assert truth.distance(separability, whole) == pytest.approx(
        np.hypot(*(truth.distance(separability, channel) for channel in apart))
    )


def test_the_best_accuracies_are_the_documented_ones() -> None:
    best = {kind: truth.best_accuracy(1.0, channels) for kind, channels in truth.SHOWN.items()}
    assert best == pytest.approx(
        {"image": 0.924, "elastogram": 0.964, "capture": 0.993, "clip": 0.993}, abs=1e-3
    )
    half = {kind: truth.best_accuracy(0.5, channels) for kind, channels in truth.SHOWN.items()}
    assert half == pytest.approx(
        {"image": 0.676, "elastogram": 0.746, "capture": 0.846, "clip": 0.846}, abs=1e-3
    )


def test_invalid_counts_of_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="5 numbers"):
        truth.best_accuracy(1.0, counts=(0.5, 0.5))


@pytest.mark.parametrize("channel", truth.SPREADS)
def test_scores_are_standardised_at_every_separability(channel: str) -> None:
    for separability in (0, 0.3, 1):
        drawn = scores(np.arange(20_000) % 5, separability, (channel,))
        assert np.mean(drawn) == pytest.approx(0, abs=0.03)
        assert np.std(drawn) == pytest.approx(1, abs=0.03)


# In patients


@pytest.fixture(scope="module")
def people() -> list[patient.Patient]:
    return [patient.patient(0, number, 1.0) for number in range(2000)]


@pytest.mark.parametrize("separability", [0.0, 0.5])
def test_the_channels_are_independent_given_the_stage(separability: float) -> None:
    crowd = [patient.patient(0, number, separability) for number in range(1000)]
    table = pd.DataFrame([person.scores for person in crowd])
    noise = table - table.groupby([person.stage for person in crowd]).transform("mean")
    assert np.abs(noise.corr().to_numpy() - np.eye(len(truth.SPREADS))).max() < 0.1


def test_the_scores_of_patients_reach_the_best_accuracy() -> None:
    crowd = [patient.patient(0, number, 0.4) for number in range(1000)]
    best = truth.best_accuracy(0.4)
    observed = np.array([[person.scores[truth.GREY]] for person in crowd])
    decided = best_stage(observed, 0.4, (truth.GREY,))
    accuracy = np.mean(decided == [person.stage for person in crowd])
    assert abs(accuracy - best) < 3 * np.sqrt(best * (1 - best) / len(crowd))


def test_stiffness_has_the_medians_of_the_literature(people: list[patient.Patient]) -> None:
    readings = pd.Series([person.lsm_kpa for person in people])
    medians = readings.groupby([person.stage for person in people]).median()
    assert medians.to_numpy() == pytest.approx([4.9, 5.8, 7.5, 10.4, 16.5], rel=0.05)
    for stage, cut_off in zip((2, 3, 4), (7.1, 9.2, 13.0), strict=True):
        assert medians[stage - 1] < cut_off < medians[stage]


def test_blood_detects_cirrhosis_as_well_as_fib_4(people: list[patient.Patient]) -> None:
    fib_4 = [
        person.age_years * person.blood.ast_u_l / (person.blood.platelets_1e9_l * person.blood.alt_u_l**0.5)
        for person in people
    ]
    assert 0.75 < roc_auc_score([person.stage == 4 for person in people], fib_4) < 0.8


@given(st.floats(-6, 6), st.integers(0, 1000))
def test_measurements_stay_within_clinical_ranges(score: float, seed: int) -> None:
    blood = measurements.blood(score, np.random.default_rng(seed))
    assert 8 <= blood.ast_u_l <= 900
    assert 6 <= blood.alt_u_l <= 1200
    assert 25 <= blood.platelets_1e9_l <= 480
    assert 2 <= measurements.lsm(score, np.random.default_rng(seed)) <= 75


def test_most_patients_are_at_the_northern_site(people: list[patient.Patient]) -> None:
    sites = pd.Series([person.exam.scanner.site for person in people])
    assert sites.value_counts(normalize=True).to_dict() == pytest.approx(
        {"north": 0.7, "south": 0.3}, abs=0.03
    )
    stages = pd.Series([person.stage for person in people])
    assert np.abs(pd.crosstab(sites, stages, normalize="index") - 0.2).max(axis=None) < 0.03


# In files


def texture(grey: np.ndarray) -> list[float]:
    """Return the strength of three bands of detail; medians are robust to vessels."""
    blurred = [cv2.GaussianBlur(grey.astype(np.float32), (0, 0), sigma) for sigma in (0.7, 1.2, 2, 3.5)]
    bands = pairwise(blurred)
    return [float(np.log(np.median(np.abs(one - other)) + 0.3)) for one, other in bands]


def stiffness(elastogram: np.ndarray) -> list[float]:
    """Return stiffness from hue: blue is soft, red is stiff."""
    hue, saturation, _ = cv2.split(cv2.cvtColor(elastogram, cv2.COLOR_RGB2HSV))
    position = 1 - float(np.mean(hue[saturation > 120])) / 120
    return [position, float(np.log(position))]


def heartbeat(film: np.ndarray) -> list[float]:
    """Return the motion of the liver at the heart rate: the flow between frames without its slow part."""
    halved = [cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for frame in film]
    pairs = pairwise(halved)  # a fifth of the time of the flow of whole frames
    flow = np.stack([cv2.calcOpticalFlowFarneback(*pair, None, 0.5, 2, 9, 3, 5, 1.1, 0) for pair in pairs])
    slow, _ = np.linalg.qr(np.vander(np.linspace(-1, 1, len(flow)), 4))  # breathing: a cubic of time
    course = flow.reshape(len(flow), -1)
    quick = (course - slow @ (slow.T @ course)).reshape(flow.shape)
    quick = np.stack([cv2.GaussianBlur(step, (0, 0), 2) for step in quick])
    bright = cv2.GaussianBlur(halved[0], (0, 0), 3.5) > 15
    return [float(np.log(np.median(np.sqrt(np.sum(quick**2, axis=-1).mean(axis=0))[bright])))]


def accuracy(features: np.ndarray, stages: np.ndarray) -> float:
    """Return the accuracy of a linear classifier, cross-validated by patient."""
    return float(np.mean(cross_val_score(LinearDiscriminantAnalysis(), features, stages, cv=FOLDS)))


def error(features: np.ndarray, stages: np.ndarray) -> float:
    """Return the mean error of a linear regression of the stage [stages], cross-validated by patient."""
    scores = cross_val_score(
        LinearRegression(), features, stages, cv=FOLDS, scoring="neg_mean_absolute_error"
    )
    return -float(np.mean(scores))


def test_grey_and_colours_together_predict_better_than_each_within_the_best_accuracy(tmp_path: Path) -> None:
    manifest = source.load_swe(root=tmp_path, patients=100, images_per_patient=2, size=200, separability=0.5)
    grey = [texture(to_grey(read_image(item.path, item.view))) for item in manifest.media(keys.IMAGE)]
    colour = [stiffness(read_image(item.path, item.view)) for item in manifest.media(keys.ELASTOGRAM)]
    table = pd.DataFrame(np.hstack([grey, colour])).groupby(manifest.groups).mean().to_numpy()
    stages = pd.Series(manifest.labels).groupby(manifest.groups).first().to_numpy()
    parts = {"image": table[:, :3], "elastogram": table[:, 3:], "capture": table}
    errors = {kind: error(part, stages) for kind, part in parts.items()}
    assert errors["capture"] < min(errors["image"], errors["elastogram"]) - 0.05
    for kind, part in parts.items():
        best = truth.best_accuracy(0.5, truth.SHOWN[kind])
        chance = np.sqrt(best * (1 - best) / len(stages))
        assert best - 0.2 < accuracy(part, stages) < best + 2 * chance, kind


def test_a_clip_predicts_better_than_its_still(tmp_path: Path) -> None:
    manifest = source.load_clips(root=tmp_path, patients=60, frames=20, separability=0.5, seed=1)
    films = [decode_clip(item.path.read_bytes(), item.path).frames for item in manifest.media(keys.CLIP)]
    stills = [to_grey(read_image(item.path, item.view)) for item in manifest.media(keys.IMAGE)]
    still = np.array([texture(picture[28:-28, 28:-28]) for picture in stills])
    moved = np.array([heartbeat(film) for film in films])
    motion = manifest.table["phantom_motion"].astype(float)
    table = pd.DataFrame({"moved": moved[:, 0], "texture": still[:, 1], "motion": motion})
    own = table - table.groupby(manifest.labels).transform("mean")  # variation between patients of a stage
    assert spearmanr(own["moved"], own["motion"]).statistic < -0.3
    assert abs(spearmanr(own["texture"], own["motion"]).statistic) < 0.3
    assert error(np.hstack([still, moved]), manifest.labels) < error(still, manifest.labels) - 0.04
