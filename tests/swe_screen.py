"""Screen captures of elastography drawn for tests, with the true position of each part."""

import io
import math
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from fibrolab.data.box import Box

TOP_KPA = 40.0


@dataclass(frozen=True)
class Screen:
    """What is on the screen; lengths are shares of a panel's width or height.

    `beside` puts the grey panel right of the coloured one instead of under it. The colour box is a piece of a
    fan: `centre` and `spread` are angles from the middle beam [rad], `near` and `far` its depths.
    """

    panel: tuple[int, int] = (180, 240)  # height, width [px]
    beside: bool = False
    grey_first: bool = False
    centre: float = 0.0
    spread: float = 0.45
    near: float = 0.25
    far: float = 0.75
    opacity: float = 1.0
    patches: int = 3
    icons: bool = True
    bar_right: bool = False
    kpa: float = 10.0
    seed: int = 0

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.panel
        return (height, 2 * width) if self.beside else (2 * height, width)

    @property
    def shift(self) -> tuple[int, int]:
        """Shift from the coloured panel to the grey one, (right, down) [px]."""
        sign = -1 if self.grey_first else 1
        return (sign * self.panel[1], 0) if self.beside else (0, sign * self.panel[0])


@dataclass(frozen=True)
class Drawn:
    """A capture (H, W, 3) and its ground truth (H, W): the colour box, its coloured pixels, and the kPa."""

    pixels: np.ndarray
    region: np.ndarray
    shown: np.ndarray
    kpa: np.ndarray

    def inside(self, box: Box) -> float:
        """Return the proportion of a rectangle that is colour box."""
        return float(box.of(self.region).mean())


def jet(share: np.ndarray) -> np.ndarray:
    """Return the colours of values 0..1, blue to red, uint8 (.., 3)."""
    ramps = [1.5 - np.abs(4 * share - peak) for peak in (3, 2, 1)]
    return (255 * np.clip(np.stack(ramps, axis=-1), 0, 1)).astype(np.uint8)


def draw(screen: Screen) -> Drawn:
    rng = np.random.default_rng(screen.seed)
    height, width = screen.panel
    depth, angle = _fan(height, width)
    scan = (_speckle(rng, height, width) * ((depth > 0) & (depth < 1) & (np.abs(angle) < 0.6))).astype(
        np.uint8
    )
    region = (
        (np.abs(angle - screen.centre) < screen.spread / 2) & (depth > screen.near) & (depth < screen.far)
    )
    kpa = np.clip(screen.kpa * np.exp(0.25 * _smooth(rng, height, width, 9)), 0, TOP_KPA)
    shown = region & ~_patches(rng, region, screen.patches)
    grey = np.repeat(scan[..., None], 3, axis=2)
    colour = grey.copy()
    colour[shown] = screen.opacity * jet(kpa[shown] / TOP_KPA) + (1 - screen.opacity) * grey[shown]
    outline = cv2.dilate(region.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool) & ~region
    colour[outline] = 255
    _bar(colour, screen.bar_right)
    _text(colour, screen.icons)
    none = np.zeros_like(region)
    return Drawn(
        *(_joined(screen, *pair) for pair in ((colour, grey), (region, none), (shown, none), (kpa, none)))
    )


def jpeg(pixels: np.ndarray, quality: int = 75) -> np.ndarray:
    """Return the image after lossy compression, with chroma at half resolution as in scanners' exports."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=quality)
    return np.asarray(Image.open(content))


def png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def _joined(screen: Screen, coloured: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """Return the two panels on one screen."""
    panels = [plain, coloured] if screen.grey_first else [coloured, plain]
    return np.concatenate(panels, axis=1 if screen.beside else 0)


def _fan(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return depth (0 at the probe, 1 at the bottom) and beam angle [rad] of every pixel of a convex scan."""
    radius = 0.45 * height  # of the probe
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    y, x = y - 0.05 * height + radius, x - width / 2
    return (np.hypot(x, y) - radius) / (0.9 * height), np.arctan2(x, y)


def _speckle(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    echo = _smooth(rng, height, width, 1.2) + 1j * _smooth(rng, height, width, 1.2)
    return np.clip(110 + 18 * np.log(np.abs(echo) + 1e-3), 0, 255)


def _smooth(rng: np.random.Generator, height: int, width: int, sigma: float) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), sigma)
    return noise / noise.std()


def _patches(rng: np.random.Generator, region: np.ndarray, number: int) -> np.ndarray:
    """Discs without signal, anywhere in the box, each a twelfth of its width across or less."""
    gaps = np.zeros(region.shape, np.uint8)
    rows, columns = np.nonzero(region)
    widest = max(2, round(math.sqrt(len(rows)) / 12))
    for pick in rng.integers(0, len(rows), number):
        centre = int(columns[pick]), int(rows[pick])
        cv2.circle(gaps, centre, int(rng.integers(1, widest + 1)), 1, -1)
    return gaps.astype(bool)


def _bar(panel: np.ndarray, right: bool) -> None:
    height, width = panel.shape[:2]
    top, bottom, across = round(0.15 * height), round(0.65 * height), max(6, width // 40)
    left = width - across - 4 if right else 4
    panel[top - 2 : bottom + 2, left - 2 : left + across + 2] = 0
    colours = jet(np.linspace(1, 0, bottom - top))
    panel[top:bottom, left : left + across] = colours[:, None]
    for text, line in (("40", top - 4), ("0", bottom + 12)):
        cv2.putText(panel, text, (left, line), cv2.FONT_HERSHEY_PLAIN, 0.7, (200, 200, 200), 1)


def _text(panel: np.ndarray, icons: bool) -> None:
    height, width = panel.shape[:2]
    cv2.putText(
        panel, "SC6-1 12 cm", (width // 2, height - 3), cv2.FONT_HERSHEY_PLAIN, 0.7, (180, 180, 180), 1
    )
    if icons:
        cv2.putText(panel, "kPa +Q", (width // 2, 9), cv2.FONT_HERSHEY_PLAIN, 0.7, (255, 210, 0), 1)
        cv2.rectangle(panel, (width - 16, height - 14), (width - 5, height - 5), (0, 120, 255), -1)
