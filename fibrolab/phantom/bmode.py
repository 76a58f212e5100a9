"""One B-mode image: tissue, echo, loss, noise, envelope, log compression, sector."""

import numpy as np
from numpy.typing import NDArray

from fibrolab.phantom import beam
from fibrolab.phantom.beam import Array, ComplexArray
from fibrolab.phantom.patient import Body, Exam
from fibrolab.phantom.tissue import Tissue, tissue


def bmode(body: Body, exam: Exam, size: int | tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one view.

    Args:
        body: What the sound meets; its severity is the only trace of the stage.
        exam: Scanner and settings.
        size: Side of the picture, or its height and width [px]; it changes the resolution only.
        rng: The view's random stream: where the probe lies, and its speckle.

    Returns:
        Grey levels `(H, W)`, black outside the sector.
    """
    return seen(tissue(beam.polar_grid(exam.scanner, exam.depth_mm), body, rng), exam, size, rng)


def seen(
    view: Tissue, exam: Exam, size: int | tuple[int, int], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw the image of given tissue, with new scatterers; see `bmode`."""
    scatterers = beam.speckle(rng) * beam.amplitude(view.scatter_db) + view.reflection
    return formed(scatterers, view.attenuation, exam, size, rng)


def formed(
    scatterers: ComplexArray,
    attenuation: Array,
    exam: Exam,
    size: int | tuple[int, int],
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Form the image of scatterers and attenuation `(SAMPLES, LINES)`; `rng` gives the scanner's noise."""
    scanner, depth_mm = exam.scanner, exam.depth_mm
    loss_db = beam.attenuation_db(attenuation, scanner, depth_mm)
    signal = beam.echo(scatterers, scanner, depth_mm) * beam.amplitude(-loss_db)
    noise = beam.speckle(rng) * beam.noise_amplitude(scanner, depth_mm)
    grey = beam.log_compress(np.abs(signal + noise), exam.gain_db, scanner.dynamic_range_db)
    return beam.scan_convert(grey, scanner, depth_mm, size)
