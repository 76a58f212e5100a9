from dataclasses import replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab.phantom import beam, motion, patient
from fibrolab.phantom.tissue import SKIN_MM

SIZE = 96


def film(number: int, size: int | tuple[int, int] = SIZE, **timing: Any) -> np.ndarray:
    person = patient.patient(0, number, 1.0)
    return motion.clip(person.body, person.exam, size, np.random.default_rng(number), **timing)


def shown(number: int, first_mm: float, last_mm: float) -> np.ndarray:
    exam = patient.patient(0, number, 1.0).exam
    place = beam.pixels(exam.scanner, exam.depth_mm, (SIZE, SIZE))
    inside = np.abs(place.angle) < np.deg2rad(exam.scanner.opening_deg) * 0.4
    return inside & (place.depth > first_mm) & (place.depth < last_mm)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one, other)[0, 1])


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 10**6),
    st.one_of(st.integers(32, 80), st.tuples(st.integers(32, 80), st.integers(32, 80))),
    st.integers(1, 4),
    st.floats(1, 60),
    st.floats(0, 1),
)
def test_clips_of_any_patient_are_deterministic(
    number: int, size: int | tuple[int, int], frames: int, fps: float, deformation: float
) -> None:
    first, again = (film(number, size, frames=frames, fps=fps, deformation=deformation) for _ in range(2))
    assert first.shape == (frames, *((size, size) if isinstance(size, int) else size))
    assert first.dtype == np.uint8
    assert first.std() > 5
    assert np.array_equal(first, again)


@pytest.mark.parametrize("frames", [1, 2, 15, 30])
@pytest.mark.parametrize("number", range(3))
def test_the_stills_of_a_clip_do_not_depend_on_the_stiffness(number: int, frames: int) -> None:
    stiff, soft = (film(number, 48, frames=frames, deformation=deformation) for deformation in (0.0, 1.0))
    assert np.array_equal(stiff[0], soft[0])
    assert np.array_equal(stiff[frames // 2], soft[frames // 2])


def test_the_draws_do_not_depend_on_the_stiffness() -> None:
    person = patient.patient(0, 0, 1.0)
    streams = [np.random.default_rng(1), np.random.default_rng(1)]
    stiff, soft = (
        motion.clip(person.body, person.exam, 48, stream, deformation=deformation)
        for stream, deformation in zip(streams, (0.0, 1.0), strict=True)
    )
    assert streams[0].bit_generator.state == streams[1].bit_generator.state
    assert not np.array_equal(stiff, soft)


def test_strain_grows_with_the_deformation() -> None:
    strains = [
        np.mean([strain(film(number, deformation=deformation)) for number in range(4)])
        for deformation in (0, 0.5, 1)
    ]
    assert strains[1] > 1.15 * strains[0]
    assert strains[2] > 1.15 * strains[1]


def strain(frames: np.ndarray) -> float:
    flows = np.stack(
        [
            cv2.calcOpticalFlowFarneback(one, other, None, 0.5, 3, 21, 3, 5, 1.1, 0)  # type: ignore[call-overload]
            for one, other in pairwise(frames)
        ]
    )
    jerk = np.diff(flows, axis=0)[:, cv2.GaussianBlur(frames[0], (0, 0), 4) > 15]  # breathing is slow
    return float(np.percentile(np.abs(jerk - np.median(jerk, axis=1, keepdims=True)), 95))


def test_the_strain_of_the_softest_liver_is_that_of_healthy_livers() -> None:
    assert (
        pytest.approx(0.1249, abs=0.0176) == motion.BEAT_MM / motion.BEAT_REACH_MM
    )  # Harouni 2015: mean, SD


def test_speckle_moves_between_frames_and_is_replaced_after_seconds() -> None:
    lags = {1: 0.0, 2: 0.0, 8: 0.0, 24: 0.0}
    for number in range(6):
        liver = film(number, frames=48, deformation=0.5)[:, shown(number, 45, 75)].astype(np.float32)
        for lag in lags:
            pairs = zip(liver[:-lag], liver[lag:], strict=True)
            lags[lag] += float(np.mean([correlation(*pair) for pair in pairs])) / 6
    assert lags[1] > 0.7
    assert lags[1] > lags[2] > lags[8] > lags[24]
    assert lags[24] < 0.4


def test_a_whole_breath_brings_the_same_tissue_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion, "BREATH_S", (4.0, 4.0))
    liver = film(1, frames=9, fps=2, deformation=0.0)[:, shown(1, 45, 75)].astype(np.float32)
    assert correlation(liver[0], liver[8]) > 0.95
    assert min(correlation(liver[0], later) for later in liver) < 0.3


def test_tissue_that_leaves_the_plane_brings_new_speckle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motion, "BREATH_MM", (0.0, 0.0))
    monkeypatch.setattr(motion, "BREATH_DEEP_MM", 0.0)
    monkeypatch.setattr(motion, "OUT_OF_PLANE_MM", (motion.SLICE_MM, motion.SLICE_MM))
    person = patient.patient(0, 12, 1.0)  # its view shows neither vessels nor shadows at these depths
    even = replace(person.body, severity=0.0)
    frames = motion.clip(
        even, person.exam, SIZE, np.random.default_rng(12), frames=20, fps=5, deformation=0.0
    )
    assert np.corrcoef(frames[:, shown(12, 45, 75)]).min() < 0.5


def test_the_brightness_of_the_liver_does_not_flicker() -> None:
    for number in range(4):
        brightness = film(number, fps=30)[:, shown(number, 40, 80)].mean(axis=1)
        assert np.abs(np.diff(brightness)).max() < 0.03 * brightness.mean()


def test_the_wall_stays_while_the_liver_slides() -> None:
    for number in range(4):
        body = patient.patient(0, number, 1.0).body
        frames = film(number, frames=40, fps=10).astype(np.float32)
        wall = frames[:, shown(number, SKIN_MM, SKIN_MM + body.fat_mm)]
        liver = frames[:, shown(number, 45, 75)]
        assert min(correlation(wall[0], later) for later in wall) > 0.95
        assert min(correlation(liver[0], later) for later in liver) < 0.5


def test_at_an_infinite_frame_rate_frames_differ_only_in_noise() -> None:
    frames = film(0, frames=3, fps=1e6).astype(np.float32)
    assert not np.array_equal(frames[0], frames[1])
    assert min(correlation(frames[0][shown(0, 40, 80)], later[shown(0, 40, 80)]) for later in frames) > 0.95
