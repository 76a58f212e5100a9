"""The texts of a figure, and figures that are not rendered."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from fibrolab import keys
from fibrolab.reporting import run_outputs
from fibrolab.reporting.figures import style


def texts(figure: Figure) -> list[str]:
    """Every text of a drawn figure, legends and ticks included."""
    figure.dpi = 40
    FigureCanvasAgg(figure).draw()  # `savefig` draws twice and encodes
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


@contextmanager
def unrendered() -> Iterator[None]:
    """Save figures as blank images, since rendering takes most of the time of a small run."""
    sheet = io.BytesIO()
    Image.new("L", (1, 1)).save(sheet, format="png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "render", lambda figure: (sheet.getvalue(), b"<svg/>"))
        yield


@contextmanager
def unreported() -> Iterator[None]:
    """End a training with its tables, without figures and documents, which take half of its time.

    The run of several trainings has them, with blank figures.
    """
    write = run_outputs.write

    def of_several(folder: Path, *given: Any) -> None:
        if (folder / keys.NETWORKS_FILE).is_file():
            write(folder, *given)

    with unrendered(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_outputs, "write", of_several)
        patch.setattr(run_outputs, "draw_mistakes", lambda *_: None)
        yield
