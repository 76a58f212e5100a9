"""Sampling of frames from a clip: spread over all of it or consecutive, at a common frame rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from fibrolab.choices import refuse, unknown
from fibrolab.errors import DataError, listing

_STREAM = 0x5E6  # parts these draws from those of the augmentation, which is seeded with the same number


def uniform(frames: int, length: int, seed: int | None = None) -> np.ndarray:
    """Choose one frame from each of `length` equal parts of the clip.

    Args:
        frames: Frames of the clip, N.
        length: Frames that are seen, T <= N.
        seed: Draws a frame of each part, for training; None takes the middle of each, for evaluation.

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
        frames: Frames of the clip, N.
        length: Frames that are seen, T <= N.
        seed: Draws where the window begins, for training; None takes the middle, for evaluation.

    Returns:
        Frame numbers, int64 (T,).
    """
    _assert_long_enough(frames, length)
    latest = frames - length
    begin = latest // 2 if seed is None else int(_generator(seed).integers(latest + 1))
    return np.arange(begin, begin + length)


def resampled(frames: int, fps_from: float, fps_to: float) -> np.ndarray:
    """Resample a clip to another frame rate: for every new frame, the old one that is nearest in time.

    An old frame stands for the half period before and after it, so that a rate which is stated as 15.01
    instead of 15 loses no frame. At a higher rate old frames repeat.

    Args:
        frames: Frames of the clip, N >= 1.
        fps_from: Rate at which they were taken [1/s].
        fps_to: Rate that is asked for [1/s].

    Returns:
        Number of the old frame for each new one, not decreasing, int64 (M,).
    """
    assert frames >= 1, "Segment.check comes first"
    assert _is_rate(fps_from), "Segment.check comes first"
    step = fps_from / fps_to  # old frames from one new frame to the next
    count = math.ceil((frames - 0.5) / step)
    nearest = np.floor(np.arange(count) * step + 0.5).astype(np.int64)
    return np.minimum(nearest, frames - 1)  # against a rounding at the very end


SEGMENTS = {"uniform": uniform, "window": window}


@dataclass(frozen=True)
class Segment:
    """Settings for the frames that a network gets of a clip; the same for every clip of a data set.

    Attributes:
        name: `uniform` (spread over the whole clip) or `window` (consecutive frames).
        length: Frames that are seen, T.
        fps: Frame rate that clips are brought to first [1/s]; None leaves each at its own.

    Raises:
        ConfigError: A setting that is unknown or out of range.
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
            count: Frames of the clip.
            fps: Its frame rate [1/s]; unused where clips keep their own.
            seed: Fixes where a training segment lies, see `fibrolab.data.augment.augmentation_seed`; None
                for evaluation, which always sees the same frames.

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

        A short clip is neither padded nor repeated: standstill and loops would look like motion of a kind
        that the liver does not have, and would distinguish short clips from long ones.

        Args:
            names: What each clip is called in the message.
            counts: Frames of each clip.
            rates: Frame rate of each clip [1/s]; 0 or NaN where the file does not state it.

        Raises:
            DataError: Clips with fewer frames than are seen, or without the frame rate that is needed.
        """
        found = (self._fault(*clip) for clip in zip(names, counts, rates, strict=True))
        faults = [fault for fault in found if fault]
        if faults:
            raise DataError(
                f"{len(faults)} clip(s) cannot give {self._asked()}; leave them out, or ask for fewer frames "
                f"or another rate:\n{listing(faults)}"
            )

    def _fault(self, name: str, count: int, fps: float) -> str:
        if self.fps is None:
            return f"{name}: has {count} frame(s)" if count < self.length else ""
        if not _is_rate(fps):
            return f"{name}: its file states no frame rate"
        left = len(resampled(count, fps, self.fps)) if count else 0
        if left >= self.length:
            return ""
        return f"{name}: {count} frame(s) at {fps:g} per second are {left} at {self.fps:g}"

    def _asked(self) -> str:
        return f"{self.length} frames" + (f" at {self.fps:g} per second" if self.fps else "")


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng([_STREAM, seed])


def _is_rate(fps: object) -> bool:
    return isinstance(fps, Real) and 0 < float(fps) < math.inf


def _assert_long_enough(frames: int, length: int) -> None:
    assert 1 <= length <= frames, f"a segment of {length} in {frames} frames; Segment.check comes first"
