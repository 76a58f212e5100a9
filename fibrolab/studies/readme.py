"""The README of a study: its tables and its verdict, made from the results alone, between two comments.

The text around the comments is written by hand and stays.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from fibrolab import keys
from fibrolab.reporting.tables.sheet import Sheet
from fibrolab.storage import put
from fibrolab.studies import published_sheets, verdict
from fibrolab.studies import result_sheets as sheets
from fibrolab.studies.definition import Study
from fibrolab.studies.page import CAPTIONS, PROTOCOLS
from fibrolab.studies.parts import parts
from fibrolab.studies.results import Tables

README = "README.md"
BEGIN, END = "<!-- results: {} -->", "<!-- end of results: {} -->"


def write(study: Study, size: str, tables: Tables) -> Path:
    """Write the tables of a size into the README of a study; the text around them is kept.

    Args:
        study: The study.
        size: Size of the results.
        tables: The results.

    Returns:
        Path of the README.
    """
    path, of_package = study.home / README, study.folder / README
    known = next((each for each in (path, of_package) if each.is_file()), None)
    old = known.read_text(encoding="utf-8") if known else f"# {study.title}\n"
    return put(path, inserted(old, size, section(study, size, tables)).encode())


def inserted(text: str, size: str, content: str) -> str:
    """Return a text with the section of a size replaced, or appended."""
    begin, end = BEGIN.format(size), END.format(size)
    block = f"{begin}\n\n{content.strip()}\n\n{end}"
    if begin in text and end in text:
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        return pattern.sub(lambda _: block, text)
    return f"{text.rstrip()}\n\n{block}\n"


def section(study: Study, size: str, tables: Tables) -> str:
    """Return the section of a size: a table for each protocol and task, differences, the verdict."""
    lines = [f"## Results at size={size}", "", verdict.trained(tables), ""]
    found = parts(study, size, tables)
    if sheets.accuracies(found) is not None:
        lines += _picture(f"{PROTOCOLS}.svg", CAPTIONS[PROTOCOLS], size)
    for part in found:
        for sheet in (sheets.arms(part), sheets.differences(part)):
            lines += [*markdown(sheet), ""]
        for file, caption in part.pictures:
            lines += _picture(file, caption, size)
    if (apart := published_sheets.apart(study, tables)).lines:
        lines += [*markdown(apart), ""]
    lines += ["**Verdict.** " + " ".join(verdict.sentences(study, size, tables))]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def _picture(file: str, caption: str, size: str) -> tuple[str, ...]:
    """Return a picture with its caption below."""
    return f"![{Path(file).stem}](results/{size}/{keys.FIGURES}/{file})", "", f"*{caption}*", ""


def markdown(sheet: Sheet) -> Iterator[str]:
    """Yield the lines of a table in Markdown, with its caption above and its notes below."""
    if not sheet.lines:
        if sheet.empty:
            yield sheet.empty
        return
    yield f"**{sheet.caption}**"
    yield ""
    yield _line([column.title for column in sheet.columns])
    yield _line(["---:" if column.number else "---" for column in sheet.columns])
    for each in sheet.lines:
        yield _line([cell.joined for cell in each.cells])
    for _, note in sheet.notes:
        yield ""
        yield f"**{note}**"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split("\n")) for cell in cells) + " |"
