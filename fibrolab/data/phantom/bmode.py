"""One B-mode image: tissue, echo, loss, noise, envelope, log compression, sector."""

import numpy as np
from numpy.typing import NDArray

from fibrolab.data.phantom import beam
from fibrolab.data.phantom.patient import Body, Exam
from fibrolab.data.phantom.tissue import tissue


def bmode(body: Body, exam: Exam, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one view.

    Args:
        body: What the sound meets; its severity is the only trace of the stage.
        exam: Scanner and settings.
        size: Side of the picture [px]; it changes the resolution only.
        rng: The view's random stream: where the probe lies, and its speckle.

    Returns:
        Grey levels `(size, size)`, black outside the sector.
    """
    scanner, depth_mm = exam.scanner, exam.depth_mm
    view = tissue(beam.polar_grid(scanner, depth_mm), body, rng)
    scatterers = beam.speckle(rng) * beam.amplitude(view.scatter_db) + view.reflection
    loss_db = beam.attenuation_db(view.attenuation, scanner, depth_mm)
    signal = beam.echo(scatterers, scanner, depth_mm) * beam.amplitude(-loss_db)
    noise = beam.speckle(rng) * beam.noise_amplitude(scanner, depth_mm)
    grey = beam.log_compress(np.abs(signal + noise), exam.gain_db, scanner.dynamic_range_db)
    return beam.scan_convert(grey, scanner, depth_mm, size)
