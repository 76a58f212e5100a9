"""A page displayed in a notebook."""

import re
from html import unescape
from pathlib import Path

from fibrolab.runs.inline_page import Page


def test_a_page_is_shown_completely_in_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text('<p title="a & b">\u2265 1</p>', encoding="utf-8")
    (source,) = re.findall(r'^<iframe srcdoc="([^"]*)"[^<>]*></iframe>$', Page(path)._repr_html_())
    assert "<" not in source
    assert unescape(source) == path.read_text(encoding="utf-8")
    assert Path(Page(path)) == path
