"""B-mode image of one view: tissue, echo, loss, noise, envelope, log compression, sector."""

import numpy as np
from numpy.typing import NDArray

from fibrolab.phantom import beam
from fibrolab.phantom.beam import Array, ComplexArray
from fibrolab.phantom.patient import Body, Exam
from fibrolab.phantom.tissue import Tissue, tissue


def bmode(body: Body, exam: Exam, size: int | tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one view.

    Args:
        body: Acoustic properties; only its severity depends on the stage.
        exam: Scanner and settings.
        size: Side of the image, or its height and width [px]; it only changes the resolution.
        rng: The view's random stream, for the position of the probe and the speckle.

    Returns:
        Grey levels `(H, W)`, black outside the sector.
    """
    return tissue_image(tissue(beam.polar_grid(exam.scanner, exam.depth_mm), body, rng), exam, size, rng)


def tissue_image(
    view: Tissue, exam: Exam, size: int | tuple[int, int], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw the image of the given tissue, with new scatterers; see `bmode`."""
    scatterers = beam.speckle(rng) * beam.amplitude(view.scatter_db) + view.reflection
    return scatterer_image(scatterers, view.attenuation, exam, size, rng)


def scatterer_image(
    scatterers: ComplexArray,
    attenuation: Array,
    exam: Exam,
    size: int | tuple[int, int],
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Draw the image of scatterers and attenuation `(SAMPLES, LINES)`; `rng` gives the scanner's noise."""
    scanner, depth_mm = exam.scanner, exam.depth_mm
    loss_db = beam.attenuation_db(attenuation, scanner, depth_mm)
    signal = beam.echo(scatterers, scanner, depth_mm) * beam.amplitude(-loss_db)
    noise = beam.speckle(rng) * beam.noise_amplitude(scanner, depth_mm)
    grey = beam.log_compress(np.abs(signal + noise), exam.gain_db, scanner.dynamic_range_db)
    return beam.scan_convert(grey, scanner, depth_mm, size)
