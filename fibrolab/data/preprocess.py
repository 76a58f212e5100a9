"""Preprocessing: deterministic crop, denoising, equalisation and resizing, done once for each file."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import PIL

from fibrolab import keys
from fibrolab.allowed import number, whole
from fibrolab.data.box import Box
from fibrolab.data.image_borders import content_box
from fibrolab.errors import ConfigError, listing

# Raise it whenever the same settings give other pixels, or the layout of the pixel store (`cache`) changes:
# existing caches are then not used.
VERSION = 9
EQUALIZE = ("none", "histogram", "clahe", "both")
CROP = ("none", "borders", "mask")
# Setting of `conf/preprocess` that changes no pixel here: the run that makes the masks of new pictures.
SEGMENTER = "segmenter"
LAST, FIRST = RESIZE = ("last", "first")  # when the image gets its final size: after or before the filters
NOT_OF_MASKS = "preprocess.crop=mask would show a segmenter the masks that it learns: choose another crop."
NOT_OF_CLIPS = "preprocess.crop=mask crops images, and a mask labels no clip: choose another crop."


@dataclass(frozen=True)
class Preprocess:
    """Preprocessing settings; called with an image of any size, they return a square uint8 image.

    The order of the steps is crop, non-local means, histogram equalisation, CLAHE, resize; all but the last
    work at the original resolution. With ``resize="first"`` the image is resized after the crop, as in paper
    1, and the filters work on the small image. The aspect ratio is not kept, as in the papers.

    Args:
        size: side of the result [px].
        crop: ``none``; ``borders``: the scan alone, without burned-in frame, text and black border; or
            ``mask``: the bounding box of the image's mask, with black pixels outside the mask.
        crop_levels: grey levels of the mask that ``mask`` keeps; None for every level above 0.
        denoise: strength h of non-local means [grey levels]; 0 = off.
        denoise_template: side of the patches that are compared [px], odd.
        denoise_search: side of the window that is searched for similar patches [px], odd.
        equalize: ``none``, ``histogram`` (global), ``clahe`` (local), or ``both`` in that order.
        clahe_clip: contrast limit of CLAHE, as a multiple of a flat histogram's bin.
        clahe_tiles: tiles of CLAHE along each side.
        resize: ``last`` or ``first``, see above.
        channels: 1 for grey images, 3 for colour images, see `of_colours`.
        labels: whether the pixels are labels, see `of_masks`.

    Raises:
        ConfigError: settings out of range; all of them are named.

    Sources:
        Buades, Coll, Morel: A non-local algorithm for image denoising, CVPR 2005. Zuiderveld: Contrast
        limited adaptive histogram equalization, Graphics Gems IV, 1994. Both as implemented in OpenCV.
    """

    size: int = 224
    crop: str = "none"
    crop_levels: Sequence[int] | None = None
    denoise: float = 0.0
    denoise_template: int = 7
    denoise_search: int = 21
    equalize: str = "none"
    clahe_clip: float = 2.0
    clahe_tiles: int = 8
    resize: str = LAST
    channels: int = 1
    labels: bool = False

    def __post_init__(self) -> None:
        """Refuse settings out of range, all in one error."""
        faults = [
            f"preprocess.{name} is {getattr(self, name)!r}; {allowed}"
            for name, allowed, holds in (
                ("size", "a whole number from 8 to 4096 is needed [px]", whole(8, 4096).holds(self.size)),
                ("crop", f"one of {', '.join(CROP)} is needed", self.crop in CROP),
                (
                    "crop_levels",
                    "null, or a list of different whole numbers from 0 to 255 with crop=mask, is needed",
                    self.crop_levels is None or (self.crop == "mask" and _levels(self.crop_levels)),
                ),
                ("denoise", "a strength from 0 (off) to 255 is needed", _real(self.denoise, 0, 255)),
                (
                    "denoise_template",
                    "an odd number from 1 to 99 is needed [px]",
                    _odd(self.denoise_template),
                ),
                ("denoise_search", "an odd number from 1 to 99 is needed [px]", _odd(self.denoise_search)),
                ("equalize", f"one of {', '.join(EQUALIZE)} is needed", self.equalize in EQUALIZE),
                ("clahe_clip", "a number above 0, at most 255, is needed", _real(self.clahe_clip, 1e-6, 255)),
                (
                    "clahe_tiles",
                    "a whole number from 1 to 64 is needed",
                    whole(1, 64).holds(self.clahe_tiles),
                ),
                ("resize", f"one of {', '.join(RESIZE)} is needed", self.resize in RESIZE),
                ("channels", "1 (grey) or 3 (colour) is needed", self.channels in (1, 3)),
            )
            if not holds
        ]
        if faults:
            raise ConfigError("These preprocess settings cannot be used:\n" + listing(faults))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a result, ``(size, size)`` in grey, ``(size, size, 3)`` in colour."""
        return (self.size, self.size) if self.channels == 1 else (self.size, self.size, 3)

    def of_colours(self) -> "Preprocess":
        """Return the settings for elastograms: resized only, since their colours are measurements."""
        return Preprocess(size=self.size, channels=3)

    def of_masks(self) -> "Preprocess":
        """Return the settings for masks: cropped like their images, resized by nearest neighbour."""
        return Preprocess(size=self.size, crop=self.crop, crop_levels=self.crop_levels, labels=True)

    def of(self, modality: str) -> "Preprocess":
        """Return the settings for the files of a modality, derived from these settings for grey images."""
        if modality == keys.MASK:
            return self.of_masks()
        return self.of_colours() if modality == keys.ELASTOGRAM else self

    def kept(self, labels: np.ndarray) -> np.ndarray:
        """Return which pixels of a mask, uint8 (H, W), the crop to it keeps, bool (H, W)."""
        return labels > 0 if self.crop_levels is None else np.isin(labels, list(self.crop_levels))

    def crop_box(self, image: np.ndarray, kept: np.ndarray | None = None) -> Box:
        """Return the rectangle that is kept of an image.

        Args:
            image: uint8 (H, W); of a clip, its maximum over time.
            kept: For a crop to the mask: which pixels it keeps, at least one, bool (H, W).
        """
        if self.crop == "mask":
            assert kept is not None, "an image without a mask is refused"
            assert kept.any(), "a mask that keeps nothing is refused"
            return Box(*map(int, cv2.boundingRect(kept.astype(np.uint8))))
        if self.crop == "borders":
            return content_box(image)
        return Box(0, 0, image.shape[1], image.shape[0])

    def mask(self, labels: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Crop and resize a label map like its image.

        Args:
            labels: uint8 ``(H, W)``.
            image: grey levels of the image that it labels, uint8 ``(H, W)``.

        Returns:
            uint8 of `shape`.
        """
        labels = self.crop_box(image, self.kept(labels) if self.crop == "mask" else None).of(labels)
        return cv2.resize(labels, (self.size, self.size), interpolation=cv2.INTER_NEAREST_EXACT)

    def __call__(self, image: np.ndarray, kept: np.ndarray | None = None) -> np.ndarray:
        """Process one image.

        Args:
            image: uint8 ``(H, W)``, or ``(H, W, 3)`` if `channels` is 3.
            kept: For a crop to the mask: which pixels it keeps, bool ``(H, W)``; the others become black
                before any other step.

        Returns:
            uint8 of `shape`.
        """
        assert image.dtype == np.uint8, f"not uint8: {image.dtype}"
        assert image.ndim == len(self.shape), f"not {self.channels} channel(s): {image.shape}"
        shown = image if kept is None else np.where(kept, image, np.uint8(0))
        return self._filtered(self.crop_box(image, kept).of(shown))

    def clip(self, frames: np.ndarray) -> np.ndarray:
        """Process the frames of one clip; all get the crop of their maximum over time.

        Args:
            frames: uint8 ``(T, H, W)``.

        Returns:
            uint8 ``(T, size, size)``.
        """
        box = self.crop_box(frames.max(axis=0))
        return np.stack([self._filtered(box.of(frame)) for frame in frames])

    def _filtered(self, image: np.ndarray) -> np.ndarray:
        """Apply all steps after the crop."""
        image = np.ascontiguousarray(image)
        if self.resize != LAST:
            image = self._resize(image)
        if self.denoise > 0:
            image = cv2.fastNlMeansDenoising(
                image, None, float(self.denoise), self.denoise_template, self.denoise_search
            )
        if self.equalize in ("histogram", "both"):
            image = cv2.equalizeHist(image)
        if self.equalize in ("clahe", "both"):
            image = cv2.createCLAHE(self.clahe_clip, (self.clahe_tiles, self.clahe_tiles)).apply(image)
        return self._resize(image)

    def key(self) -> str:
        """Return a hash of these settings: 16 hexadecimal digits, the folder of their cache.

        It depends on the versions of the libraries that decode and filter, since a new release may round
        differently.
        """
        libraries = {"version": VERSION, "opencv": cv2.__version__, "pillow": PIL.__version__}
        # 10 and 10.0 are the same strength and must not get two caches.
        settings = {**asdict(self), "denoise": float(self.denoise), "clahe_clip": float(self.clahe_clip)}
        if not self.labels:  # so that caches from before there were masks keep their names
            del settings["labels"]
        if self.crop_levels is None:
            del settings["crop_levels"]
        if self.resize == LAST:
            del settings["resize"]
        text = json.dumps({**settings, **libraries}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _resize(self, image: np.ndarray) -> np.ndarray:
        if image.shape == self.shape:
            return image
        # Area averaging avoids aliasing of speckle when shrinking; when enlarging, it would give blocks.
        shrinks = min(image.shape[:2]) >= self.size
        return cv2.resize(
            image, (self.size, self.size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )


def _levels(value: object) -> bool:
    given = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
    return bool(given) and all(map(whole(0, 255).holds, given)) and len(set(given)) == len(given)


def _odd(value: object) -> bool:
    return isinstance(value, int) and whole(1, 99).holds(value) and value % 2 == 1


def _real(value: object, low: float, high: float) -> bool:
    return number("", lambda given: low <= given <= high).holds(value)
