"""A page of a finished command, displayed in a notebook."""

import html
from dataclasses import dataclass
from pathlib import Path

HEIGHT = 800  # [px], of the frame; the page scrolls in it


@dataclass(frozen=True)
class Page:
    """An HTML page that contains its images, such as a run's report.

    Attributes:
        path: File of the page, to open in a browser.
    """

    path: Path

    def __fspath__(self) -> str:
        """Return the path, so that `open` and `Path` accept a page."""
        return str(self.path)

    def _repr_html_(self) -> str:
        """Return the page in a frame, which keeps its styles and links apart from those of the notebook."""
        source = html.escape(self.path.read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{source}" style="width: 100%; height: {HEIGHT}px; border: 0"></iframe>'
