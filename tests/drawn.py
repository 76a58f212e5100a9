"""What can be read on a figure."""

import io

import matplotlib
from matplotlib.figure import Figure


def texts(figure: Figure) -> list[str]:
    """Every word on a figure once it is drawn, legends and ticks included."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]
