"""Maps brought back to the pictures that they explain: stills, films, and means in the scan's coordinates."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from fibrolab.data import geometry
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.formats.contract import Clip, to_grey
from fibrolab.data.formats.recognition import is_dicom
from fibrolab.data.geometry import Geometry
from fibrolab.data.image_borders import content_box
from fibrolab.data.media import Media
from fibrolab.data.preprocess import Preprocess
from fibrolab.explanation import overlays
from fibrolab.explanation.overlays import Scale

FRAME = 96  # side of the frame in which maps of different scans are averaged [px]


@dataclass(frozen=True)
class Source:
    """The original files of one branch's input.

    Attributes:
        media: File of each sample that has one, by sample_id.
        preprocess: Settings of the modality.
        segment: For clips: how the network's frames are chosen.
    """

    media: Mapping[str, Media]
    preprocess: Preprocess
    segment: Segment | None = None

    def open(self, sample_id: str) -> "Original":
        """Read the file of a sample, and the rectangle of it that the network sees.

        Raises:
            UnreadableImageError: The file cannot be used.
        """
        if self.segment is None:
            return Original(*geometry.picture(self.media[sample_id], self.preprocess))
        clip, place = geometry.film(self.media[sample_id], self.preprocess)
        return Original(clip.frames, place, clip, self.segment.frames(len(clip.frames), clip.fps))

    def is_dicom(self, sample_id: str) -> bool:
        """Return whether the file of a sample is DICOM."""
        with self.media[sample_id].path.open("rb") as file:
            return is_dicom(file.read(132))


@dataclass(frozen=True)
class Original:
    """The original pixels of a sample, and where the network's input lies in them.

    Attributes:
        pixels: Picture, uint8 (H, W) or (H, W, 3), or the frames of a film, uint8 (N, H, W).
        place: Rectangle that the network sees.
        clip: The film; None for a picture.
        used: Numbers of the film's frames that the network takes, int64 (T,).
    """

    pixels: np.ndarray
    place: Geometry
    clip: Clip | None = None
    used: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))

    def still(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return one picture with its map: of a film, the time step with the most heat.

        Args:
            values: Map (h, w), or (t, h, w) of a film.

        Returns:
            uint8 (H, W) or (H, W, 3), and float32 (H, W), NaN where the network saw nothing.
        """
        if self.clip is None:
            return self.pixels, self.place.to_picture(values)
        step, frame = self.hottest(values)
        return self.pixels[frame], self.place.to_picture(values[step])

    def middle(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the part that the network sees, with its map: of a film its middle frame, for any network.

        Args:
            values: Map (h, w), or (t, h, w) of a film.

        Returns:
            uint8 (H, W) or (H, W, 3), and float32 (H, W).
        """
        picture = self.pixels
        if self.clip is not None:
            picture = self.pixels[len(self.pixels) // 2]
            values = values[np.abs(self.frame_numbers(len(values)) - len(self.pixels) // 2).argmin()]
        box = self.place.box
        return box.of(picture), box.of(self.place.to_picture(values))

    def hottest(self, values: np.ndarray) -> tuple[int, int]:
        """Return the time step with the most heat of a map (t, h, w), and the film's frame at its centre."""
        step = int(heat_over_time(values).argmax())
        return step, int(self.frame_numbers(len(values))[step].round())

    def frame_numbers(self, steps: int) -> np.ndarray:
        """Return the frame of the film at the centre of each time step of a map, float64 (steps,)."""
        centres = (np.arange(steps) + 0.5) / steps * len(self.used) - 0.5
        return np.interp(centres, np.arange(len(self.used)), self.used)

    def overlaid(self, values: np.ndarray, colours: Scale) -> Iterator[np.ndarray]:
        """Yield every frame of a film with its map, interpolated over time, uint8 (H, W, 3).

        Frames before the first and after the last one that the network takes are yielded without a map.

        Args:
            values: Map (t, h, w).
            colours: Scale of the values.
        """
        steps = np.arange(len(values))
        places = np.interp(np.arange(len(self.pixels)), self.frame_numbers(len(values)), steps)
        for number, (frame, place) in enumerate(zip(self.pixels, places, strict=True)):
            before, rest = int(place), place % 1
            after = min(before + 1, len(values) - 1)
            heat = self.place.to_picture((1 - rest) * values[before] + rest * values[after])
            if not self.used[0] <= number <= self.used[-1]:
                heat = np.zeros_like(heat)
            yield overlays.overlay(frame, heat, colours)


def heat_over_time(values: np.ndarray) -> np.ndarray:
    """Return the sum of the absolute values of each time step of a map (t, h, w), float64 (t,)."""
    return np.asarray(np.abs(values).astype(np.float64).sum(axis=(1, 2)))


class MeanMap:
    """Mean of pictures and maps in the scan's coordinates: the rectangle around each scan fills one frame.

    Each map counts with its largest absolute value as 1. Pixels of the scan that the network did not see do
    not count.
    """

    def __init__(self) -> None:
        self.count = 0
        self._grey = np.zeros((FRAME, FRAME))
        self._heat = np.zeros((FRAME, FRAME))
        self._seen = np.zeros((FRAME, FRAME))

    def add(self, picture: np.ndarray, heat: np.ndarray) -> None:
        """Add a picture, uint8 (H, W) or (H, W, 3), and its map (H, W), NaN where the network saw nothing."""
        grey = to_grey(picture)
        scan = content_box(grey)
        largest = np.nanmax(np.abs(heat))
        relative = heat / largest if largest > 0 else heat
        self.count += 1
        self._grey += _in_frame(scan.of(grey))
        self._heat += _in_frame(scan.of(np.nan_to_num(relative)))
        self._seen += _in_frame(scan.of(np.isfinite(heat)))

    def means(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the mean picture and the mean map, float64 (`FRAME`, `FRAME`), and their number."""
        heat = np.divide(self._heat, self._seen, out=np.full_like(self._heat, np.nan), where=self._seen > 0)
        return self._grey / max(self.count, 1), heat, self.count


def _in_frame(pixels: np.ndarray) -> np.ndarray:
    shrinks = min(pixels.shape) >= FRAME
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(pixels, np.float32), (FRAME, FRAME), interpolation=how)
