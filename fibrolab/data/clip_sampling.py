"""Sampling of frames from a clip, spread over all of it or consecutive, at a common frame rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from fibrolab.choices import refuse, unknown
from fibrolab.errors import DataError, listing

_STREAM = 0x5E6  # makes these draws independent of the augmentation's, which have the same seed


def uniform(frames: int, length: int, seed: int | None = None) -> np.ndarray:
    """Choose one frame from each of `length` equal parts of the clip.

    Args:
        frames: Number of frames of the clip, N.
        length: Number of frames chosen, T <= N.
        seed: Draws a random frame of each part, for training; None takes the middle frame, for evaluation.

    Returns:
        Increasing frame numbers, int64 (T,).

    Source:
        Temporal segment networks: Wang et al., ECCV 2016, section 3.1.
    """
    _assert_long_enough(frames, length)
    bounds = np.arange(length + 1) * frames // length
    begins, ends = bounds[:-1], bounds[1:]
    return (begins + ends) // 2 if seed is None else _generator(seed).integers(begins, ends)


def window(frames: int, length: int, seed: int | None = None) -> np.ndarray:
    """Choose consecutive frames.

    Args:
        frames: Number of frames of the clip, N.
        length: Number of frames chosen, T <= N.
        seed: Draws the first frame at random, for training; None takes the middle window, for evaluation.

    Returns:
        Frame numbers, int64 (T,).
    """
    _assert_long_enough(frames, length)
    latest = frames - length
    begin = latest // 2 if seed is None else int(_generator(seed).integers(latest + 1))
    return np.arange(begin, begin + length)


def resampled(frames: int, fps_from: float, fps_to: float) -> np.ndarray:
    """Resample a clip to another frame rate: for every new frame, choose the old frame nearest in time.

    Each old frame covers half a period before and after it, so that no frame is lost when a file states
    15.01 frames a second instead of 15. At a higher rate old frames are repeated.

    Args:
        frames: Number of frames of the clip, N >= 1.
        fps_from: Frame rate of the clip [1/s].
        fps_to: Wanted frame rate [1/s].

    Returns:
        Number of the old frame for each new one, not decreasing, int64 (M,).
    """
    assert frames >= 1, "Segment.check comes first"
    assert _is_rate(fps_from), "Segment.check comes first"
    step = fps_from / fps_to  # old frames from one new frame to the next
    count = math.ceil((frames - 0.5) / step)
    nearest = np.floor(np.arange(count) * step + 0.5).astype(np.int64)
    return np.minimum(nearest, frames - 1)  # rounding may exceed the last frame


SEGMENTS = {"uniform": uniform, "window": window}


@dataclass(frozen=True)
class Segment:
    """Settings that choose a network's input frames from a clip, the same for every clip of a data set.

    Attributes:
        name: `uniform` (spread over the whole clip) or `window` (consecutive frames).
        length: Number of input frames, T.
        fps: Frame rate to which clips are resampled first [1/s]; None keeps the rate of each.

    Raises:
        ConfigError: A setting is unknown or out of range.
    """

    name: str = "uniform"
    length: int = 16
    fps: float | None = None

    def __post_init__(self) -> None:
        faults = [] if self.name in SEGMENTS else [unknown("segment", self.name, SEGMENTS)]
        if not (isinstance(self.length, int) and self.length >= 1):
            faults.append(f"segment.length: {self.length} is not a number of frames from 1.")
        if self.fps is not None and not _is_rate(self.fps):
            faults.append(f"segment.fps: {self.fps} is not a frame rate above 0 per second, or null.")
        refuse(faults)

    def frames(self, count: int, fps: float, seed: int | None = None) -> np.ndarray:
        """Choose the frames of one clip.

        Args:
            count: Number of frames of the clip.
            fps: Its frame rate [1/s]; unused if clips keep their frame rate.
            seed: Determines the random frames in training, see `fibrolab.data.augment.augmentation_seed`;
                None for evaluation, which always uses the same frames.

        Returns:
            Frame numbers, not decreasing, int64 (T,).
        """
        choose = SEGMENTS[self.name]
        if self.fps is None:
            return choose(count, self.length, seed)
        timeline = resampled(count, fps, self.fps)
        return timeline[choose(len(timeline), self.length, seed)]

    def check(self, names: Sequence[str], counts: Sequence[int], rates: Sequence[float]) -> None:
        """Refuse clips that are too short, before training begins.

        A short clip is neither padded nor repeated: frozen or looped frames would show motion that no liver
        has, and a network could use them to tell short clips from long ones.

        Args:
            names: Name of each clip in the message.
            counts: Number of frames of each clip.
            rates: Frame rate of each clip [1/s]; 0 or NaN if the file does not state it.

        Raises:
            DataError: Clips with too few frames, or without a frame rate where resampling needs it.
        """
        found = (self._fault(*clip) for clip in zip(names, counts, rates, strict=True))
        faults = [fault for fault in found if fault]
        if faults:
            raise DataError(
                f"{len(faults)} clip(s) cannot give {self._wanted()}; leave them out, or set fewer frames "
                f"(segment.length) or another rate (segment.fps):\n{listing(faults)}"
            )

    def _fault(self, name: str, count: int, fps: float) -> str:
        """Return a sentence on the fault of a clip; empty if there is none."""
        if self.fps is None:
            return f"{name}: has {count} frame(s)" if count < self.length else ""
        if not _is_rate(fps):
            return f"{name}: its file states no frame rate"
        left = len(resampled(count, fps, self.fps)) if count else 0
        if left >= self.length:
            return ""
        return f"{name}: {count} frame(s) at {fps:g} per second are {left} at {self.fps:g}"

    def _wanted(self) -> str:
        return f"{self.length} frames" + (f" at {self.fps:g} per second" if self.fps else "")


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng([_STREAM, seed])


def _is_rate(fps: object) -> bool:
    return isinstance(fps, Real) and 0 < float(fps) < math.inf


def _assert_long_enough(frames: int, length: int) -> None:
    assert 1 <= length <= frames, f"a segment of {length} in {frames} frames; Segment.check comes first"
