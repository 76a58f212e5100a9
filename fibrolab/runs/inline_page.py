"""A page of a finished command, shown inside a notebook."""

import html
from dataclasses import dataclass
from pathlib import Path

HEIGHT = 800  # [px], of the frame; the page scrolls in it


@dataclass(frozen=True)
class Page:
    """An HTML page with its pictures inside, such as a run's report.

    Attributes:
        path: File of the page, for a browser.
    """

    path: Path

    def __fspath__(self) -> str:
        """Return the path, so that `open` and `Path` take a page."""
        return str(self.path)

    def _repr_html_(self) -> str:
        """Return the page in a frame, whose styles and links leave the notebook's alone."""
        source = html.escape(self.path.read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{source}" style="width: 100%; height: {HEIGHT}px; border: 0"></iframe>'
