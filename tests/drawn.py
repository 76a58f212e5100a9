"""What can be read on a figure, and figures that are not worth rendering."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import matplotlib
import pytest
from matplotlib.figure import Figure
from PIL import Image


def texts(figure: Figure) -> list[str]:
    """Every word on a figure once it is drawn, legends and ticks included."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


@contextmanager
def unrendered() -> Iterator[None]:
    """Figures are made and saved, but as blank sheets: rendering them takes most of a small run."""

    def blank(figure: Figure, file: BinaryIO, **settings: Any) -> None:
        Image.new("L", (1, 1)).save(file, format="png")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", blank)
        yield
