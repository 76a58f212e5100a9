"""Scanner model: sector, point-spread function, attenuation, gain, log compression, scan conversion.

Images are formed on a polar grid of SAMPLES depths by LINES beams. The size of the final image only changes
its resolution.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

Array = NDArray[np.floating]  # float32 in practice: twice as fast
ComplexArray = NDArray[np.complex64]

SAMPLES, LINES = 384, 160
SOUND_SPEED_MM_US = 1.54  # soft tissue
FWHM = 2 * np.sqrt(2 * np.log(2))  # full width at half maximum of a Gaussian, in standard deviations
MIN_F_NUMBER = 2.0
ASSUMED_ATTENUATION = 0.5  # [dB/cm/MHz] that every scanner's time-gain compensation corrects for
NOISE_DB = -56.0  # electronic noise before compensation, against the echo of healthy liver
LIVER_GREY = 0.36  # of full scale, for healthy liver at gain 0
MARGIN = 1.03  # size of the image relative to the sector
OVERSAMPLING = 2  # of the scan conversion, so that speckle is averaged and not aliased


@dataclass(frozen=True)
class Scanner:
    """A curvilinear probe and its preset, installed at one site."""

    name: str
    site: str
    frequency_mhz: float
    bandwidth: float  # fractional, at -6 dB
    aperture_mm: float  # active aperture in reception
    radius_mm: float  # curvature of the probe's face
    opening_deg: float
    dynamic_range_db: float
    gain_slope_db_cm: float = 0.0  # excess of the preset's time-gain compensation with depth


class Grid(NamedTuple):
    """Positions [mm] of the polar samples, `(SAMPLES, LINES)` each, and their spacings."""

    x: Array  # across, from the axis of the probe
    y: Array  # down, from the middle of the probe's face
    depth: Array  # along the beam, from the face
    arc: Array  # along the face's curvature at that depth
    step_mm: float  # between samples of a beam
    step_rad: float  # between beams


@lru_cache(maxsize=64)
def polar_grid(scanner: Scanner, depth_mm: float) -> Grid:
    """Return the grid of a curvilinear sector with a depth of `depth_mm`."""
    half = np.deg2rad(scanner.opening_deg) / 2
    depth, angle = np.meshgrid(
        np.linspace(0, depth_mm, SAMPLES), np.linspace(-half, half, LINES), indexing="ij"
    )
    radius = scanner.radius_mm + depth
    positions = (radius * np.sin(angle), radius * np.cos(angle) - scanner.radius_mm, depth, radius * angle)
    x, y, z, arc = (position.astype(np.float32) for position in positions)
    return Grid(x, y, z, arc, depth_mm / (SAMPLES - 1), 2 * half / (LINES - 1))


def speckle(rng: np.random.Generator) -> ComplexArray:
    """Draw unresolved scatterers: circular complex Gaussian amplitudes of unit power, `(SAMPLES, LINES)`.

    Many scatterers per resolution cell with random phases sum to such an amplitude, whose envelope is
    Rayleigh-distributed: fully developed speckle (Burckhardt 1978, IEEE Trans. Sonics Ultrason. 25, 1-6).
    """
    parts = rng.standard_normal((SAMPLES, LINES, 2), dtype=np.float32)
    return (parts * np.float32(np.sqrt(0.5))).view(np.complex64)[..., 0]


def echo(scatterers: ComplexArray, scanner: Scanner, depth_mm: float) -> ComplexArray:
    """Convolve scatterers `(SAMPLES, LINES)` with the beam; return the demodulated radio-frequency echo.

    The point-spread function is separable (Wagner et al. 1983, IEEE Trans. Sonics Ultrason. 30, 156-163).
    Along the beam it is the pulse's Gaussian envelope, without its carrier; across the beam it is a Gaussian
    with the width of `lateral_filter`. White scatterers of unit power give an echo of unit power.
    """
    transfer = lateral_filter(scanner, depth_mm)
    spectrum = fft.fft(scatterers, n=transfer.shape[1], axis=1)  # zero-padded: no wrap-around at the edges
    beams = fft.ifft(spectrum * transfer, axis=1)[:, :LINES].astype(np.complex64)
    pulse = axial_pulse(scanner, depth_mm)
    channels = np.ascontiguousarray(beams).view(np.float32).reshape(SAMPLES, LINES, 2)
    filtered = cv2.sepFilter2D(
        channels, cv2.CV_32F, np.ones(1, np.float32), pulse, borderType=cv2.BORDER_CONSTANT
    )
    return np.ascontiguousarray(filtered).view(np.complex64)[..., 0]


@lru_cache(maxsize=64)
def axial_pulse(scanner: Scanner, depth_mm: float) -> Array:
    """Return the envelope of the pulse, sampled along the beam, with unit energy.

    A Gaussian spectrum with -6 dB width b f is a Gaussian pulse with a standard deviation in time of
    sqrt(2 ln 2) / (pi b f) [us]. The echo travels there and back, which halves the extent in depth.
    """
    sigma_us = np.sqrt(2 * np.log(2)) / (np.pi * scanner.bandwidth * scanner.frequency_mhz)
    sigma = SOUND_SPEED_MM_US * sigma_us / 2 * (SAMPLES - 1) / depth_mm
    reach = int(np.ceil(3 * sigma))
    pulse = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return (pulse / np.sqrt(np.sum(pulse**2))).astype(np.float32)


@lru_cache(maxsize=64)
def lateral_filter(scanner: Scanner, depth_mm: float) -> Array:
    """Return the transfer function across the beams for every depth; each row has unit energy.

    With dynamic focusing the width of the beam is wavelength x F-number, and the F-number grows with depth
    once the whole aperture is in use (Szabo 2014, Diagnostic Ultrasound Imaging, 2nd ed., chapter 7).
    """
    grid = polar_grid(scanner, depth_mm)
    depth = grid.depth[:, 0]
    width_mm = (
        SOUND_SPEED_MM_US / scanner.frequency_mhz * np.maximum(MIN_F_NUMBER, depth / scanner.aperture_mm)
    )
    sigma = width_mm / FWHM / ((scanner.radius_mm + depth) * grid.step_rad)  # in beams
    frequency = 2 * np.pi * fft.fftfreq(fft.next_fast_len(LINES + 16))
    transfer = np.exp(-0.5 * (sigma[:, None] * frequency) ** 2)
    return (transfer / np.sqrt(np.mean(transfer**2, axis=1, keepdims=True))).astype(np.float32)


def attenuation_db(attenuation: Array, scanner: Scanner, depth_mm: float) -> Array:
    """Compute the two-way loss that remains after time-gain compensation [dB], `(SAMPLES, LINES)`.

    The loss is proportional to frequency and path (Szabo 2014, chapter 4). Tissue behind fluid becomes
    brighter, tissue behind bone darker.

    Args:
        attenuation: Local coefficient [dB/cm/MHz], `(SAMPLES, LINES)`.
        scanner: Gives the frequency and the slope of its compensation.
        depth_mm: Depth of the sector.
    """
    grid = polar_grid(scanner, depth_mm)
    path_cm = 2 * grid.step_mm / 10
    excess = np.cumsum(attenuation - np.float32(ASSUMED_ATTENUATION), axis=0, dtype=np.float32)
    slope = np.float32(scanner.gain_slope_db_cm / 10) * grid.depth[:, :1]
    return excess * np.float32(scanner.frequency_mhz * path_cm) - slope


def noise_amplitude(scanner: Scanner, depth_mm: float) -> Array:
    """Return the amplitude of noise, which time-gain compensation increases with depth, `(SAMPLES, 1)`."""
    depth_cm = polar_grid(scanner, depth_mm).depth[:, :1] / 10
    return amplitude(NOISE_DB + 2 * ASSUMED_ATTENUATION * scanner.frequency_mhz * depth_cm)


def amplitude(decibel: Array) -> Array:
    """Return the amplitude ratio of a level [dB]."""
    return np.exp(decibel * np.float32(np.log(10) / 20), dtype=np.float32)


def log_compress(envelope: Array, gain_db: float, dynamic_range_db: float) -> Array:
    """Map the envelope (1 for healthy liver) to grey levels 0..255 that span the dynamic range [dB]."""
    level = 20 * np.log10(np.maximum(envelope, np.float32(1e-6)))
    grey = LIVER_GREY + (level + gain_db) / dynamic_range_db
    return np.clip(255 * grey, 0, 255).astype(np.float32)


def scan_convert(
    grey: Array, scanner: Scanner, depth_mm: float, size: int | tuple[int, int]
) -> NDArray[np.uint8]:
    """Convert beams `(SAMPLES, LINES)` to a sector in a black image of this side, or of size `(H, W)`."""
    height, width = (size, size) if isinstance(size, int) else size
    columns, rows = _sample_maps(scanner, depth_mm, (OVERSAMPLING * height, OVERSAMPLING * width))
    sector = cv2.remap(grey, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    picture = cv2.resize(sector, (width, height), interpolation=cv2.INTER_AREA)
    return np.rint(picture).astype(np.uint8)


def scan_convert_labels(
    labels: NDArray[np.uint8], scanner: Scanner, depth_mm: float, size: int | tuple[int, int]
) -> NDArray[np.uint8]:
    """Convert labels of polar samples to those of an image's pixels, 0 outside the sector."""
    shape = (size, size) if isinstance(size, int) else size
    columns, rows = _sample_maps(scanner, depth_mm, shape)
    found = cv2.remap(labels, columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(found, np.uint8)


class Pixels(NamedTuple):
    """Positions of an image's pixels in the sector, `(H, W)` each, and their spacing."""

    depth: Array  # [mm] from the probe's face, along the beam; negative in front of it
    angle: Array  # [rad] of the beam
    pitch_mm: float


@lru_cache(maxsize=64)
def pixels(scanner: Scanner, depth_mm: float, shape: tuple[int, int]) -> Pixels:
    """Return the geometry of an image `(H, W)` into which the whole sector just fits."""
    radius, half = scanner.radius_mm, np.deg2rad(scanner.opening_deg) / 2
    height, width = shape
    top_mm = radius * (np.cos(half) - 1)  # the ends of a convex face are above its middle
    width_mm, height_mm = 2 * (radius + depth_mm) * np.sin(half), depth_mm - top_mm
    pitch_mm = MARGIN * max(width_mm / width, height_mm / height)
    across, down = np.meshgrid(
        (np.arange(width) + 0.5 - width / 2) * pitch_mm, (np.arange(height) + 0.5 - height / 2) * pitch_mm
    )
    from_centre = down + (top_mm + depth_mm) / 2 + radius
    depth = np.hypot(across, from_centre) - radius
    angle = np.arctan2(across, from_centre)
    return Pixels(depth.astype(np.float32), angle.astype(np.float32), pitch_mm)


@lru_cache(maxsize=64)
def _sample_maps(scanner: Scanner, depth_mm: float, shape: tuple[int, int]) -> tuple[Array, Array]:
    """Return beam and sample of every pixel, `(H, W)` each; outside the sector they are out of range."""
    depth, angle, _ = pixels(scanner, depth_mm, shape)
    half = np.float32(np.deg2rad(scanner.opening_deg) / 2)
    return (angle + half) / (2 * half) * (LINES - 1), depth / np.float32(depth_mm) * (SAMPLES - 1)
