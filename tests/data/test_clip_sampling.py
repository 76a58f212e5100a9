"""Clip sampling: the frames chosen from a clip, and clips that are too short."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrolab.data.clip_sampling import SEGMENTS, Segment, resampled, uniform, window
from fibrolab.data.media import MIDDLE, View
from fibrolab.errors import ConfigError, DataError

lengths = st.integers(1, 40)
spare_frames = st.integers(0, 300)
seeds = st.none() | st.integers(0, 2**64 - 1)
rates = st.floats(1, 120)


@given(lengths, spare_frames, seeds)
def test_a_uniform_segment_takes_one_frame_of_each_equal_part(
    length: int, spare: int, seed: int | None
) -> None:
    frames = length + spare
    chosen = uniform(frames, length, seed)
    assert (chosen.dtype, chosen.shape) == (np.int64, (length,))
    assert (chosen * length // frames <= np.arange(length)).all()
    assert ((chosen + 1) * length > np.arange(length) * frames).all()
    assert (np.diff(chosen) >= 1).all()
    assert 0 <= chosen[0] <= chosen[-1] < frames


@given(lengths, spare_frames, seeds)
def test_a_window_is_consecutive_and_inside_the_clip(length: int, spare: int, seed: int | None) -> None:
    chosen = window(length + spare, length, seed)
    assert (chosen.dtype, chosen.shape) == (np.int64, (length,))
    assert (np.diff(chosen) == 1).all()
    assert 0 <= chosen[0] <= spare


def test_segments_by_hand() -> None:
    assert uniform(12, 3).tolist() == [2, 6, 10]
    assert uniform(10, 4).tolist() == [1, 3, 6, 8]
    assert uniform(3, 3).tolist() == window(3, 3, seed=9).tolist() == [0, 1, 2]
    assert window(10, 4).tolist() == [3, 4, 5, 6]


@given(st.integers(1, 500))
def test_a_segment_of_one_frame_is_the_middle_frame(frames: int) -> None:
    assert uniform(frames, 1).tolist() == [View(MIDDLE).frame_of(frames, None)]


@pytest.mark.parametrize("name", SEGMENTS)
def test_training_segments_depend_on_the_seed_and_reach_every_frame(name: str) -> None:
    segment = Segment(name, length=4)
    drawn = [segment.frames(13, 30.0, seed) for seed in range(1500)]
    np.testing.assert_array_equal(drawn, [segment.frames(13, 30.0, seed) for seed in range(1500)])
    assert len({tuple(frames) for frames in drawn}) == {"uniform": 3 * 3 * 3 * 4, "window": 10}[name]
    assert set(np.concatenate(drawn)) == set(range(13))


def test_a_window_begins_anywhere_with_equal_chance() -> None:
    begins = [window(14, 5, seed)[0] for seed in range(2000)]
    assert np.abs(np.bincount(begins, minlength=10) - 200).max() < 5 * np.sqrt(2000 * 0.1 * 0.9)


@given(st.integers(1, 300), rates, rates)
def test_every_new_frame_is_the_old_one_nearest_in_time(frames: int, fps_from: float, fps_to: float) -> None:
    chosen = resampled(frames, fps_from, fps_to)
    late = chosen / fps_from - np.arange(len(chosen)) / fps_to
    assert np.abs(late).max() <= 0.5 / fps_from + 1e-9
    assert chosen[0] == 0
    assert chosen.max() < frames
    assert (np.diff(chosen) >= 0).all()
    left = (frames - 0.5) / fps_from - (len(chosen) - 1) / fps_to
    assert -1e-6 < left < 1 / fps_to + 1e-6  # there is no time for another frame at the end


@given(st.integers(1, 300), rates)
def test_a_clip_at_its_own_rate_stays_as_it_is(frames: int, fps: float) -> None:
    assert resampled(frames, fps, fps).tolist() == list(range(frames))


@pytest.mark.parametrize(
    ("fps_from", "fps_to", "chosen"),
    [
        (30, 10, [0, 3, 6, 9]),
        (30, 20, [0, 2, 3, 5, 6, 8, 9]),
        (10, 20, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9]),
        (29.97, 9.99, [0, 3, 6, 9]),
    ],
)
def test_ten_frames_at_other_rates(fps_from: float, fps_to: float, chosen: list[int]) -> None:
    assert resampled(10, fps_from, fps_to).tolist() == chosen


def test_no_frame_is_lost_if_a_container_rounds_the_rate() -> None:
    for stated_rate in (14.99, 15.01, 15.02):
        assert resampled(30, stated_rate, 15).tolist() == list(range(30))


@pytest.mark.parametrize("name", SEGMENTS)
def test_segments_at_a_common_rate_last_equally_long(name: str) -> None:
    for fps in (15.0, 25.0, 60.0):
        chosen = Segment(name, length=10, fps=10).frames(int(fps), fps)
        assert chosen[-1] - chosen[0] == pytest.approx(0.9 * fps, abs=1)


def test_clips_without_enough_frames_are_all_named_before_training() -> None:
    segment = Segment(length=16)
    segment.check(["long"], [16], [float("nan")])
    with pytest.raises(DataError, match=r"(?s)2 clip\(s\) cannot give 16 frames;.*- a: has 15.*- c: has 0"):
        segment.check(["a", "b", "c"], [15, 400, 0], [30.0, 30.0, 30.0])


def test_a_clip_may_be_too_short_only_after_resampling_or_have_no_rate() -> None:
    with pytest.raises(DataError) as caught:
        Segment("window", 16, fps=10).check(list("abcd"), [45, 46, 46, 46], [30, 30, 0, float("nan")])
    assert str(caught.value).startswith("3 clip(s) cannot give 16 frames at 10 per second")
    assert "  - a: 45 frame(s) at 30 per second are 15 at 10" in str(caught.value)
    assert "  - c: its file states no frame rate" in str(caught.value)
    assert "  - d: its file states no frame rate" in str(caught.value)


@given(
    st.integers(0, 80), rates, st.integers(1, 20), st.none() | rates, st.sampled_from(sorted(SEGMENTS)), seeds
)
def test_clips_that_pass_the_check_can_be_sampled(
    count: int, rate: float, length: int, fps: float | None, name: str, seed: int | None
) -> None:
    segment = Segment(name, length, fps)
    try:
        segment.check(["clip"], [count], [rate])
    except DataError:
        return
    chosen = segment.frames(count, rate, seed)
    assert chosen.shape == (length,)
    assert 0 <= chosen.min() <= chosen.max() < count


def test_all_faults_of_the_settings_are_named_at_once() -> None:
    with pytest.raises(
        ConfigError, match=r"(?s)3 settings.*'unifrom'.*Did you mean uniform.*length: 0 is.*fps: -1"
    ):
        Segment("unifrom", 0, -1)
