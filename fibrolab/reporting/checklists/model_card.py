"""The model card of a run's network, as Markdown."""

import re
from pathlib import Path

from fibrolab.reporting.checklists import answers
from fibrolab.runs import trained_run as runs
from fibrolab.runs.trained_run import Run
from fibrolab.storage import put

FILE = "model_card.md"
MARKUP = re.compile(r"([\\`*_{}\[\]()#!|~])")


def write(folder: Path) -> Path:
    """Write ``model_card.md`` from the files of a run (Mitchell et al., FAT* 2019).

    Args:
        folder: Of the run.

    Returns:
        The card.

    Raises:
        DataError: ``folder`` is no folder.
        StorageError: The disk is full or the folder cannot be written.
    """
    return put(folder / FILE, text(runs.read(folder)).encode(errors="replace"))


def text(run: Run) -> str:
    """Return the card: a heading per section, and a paragraph per item with its answer."""
    card = answers.answered("model_card", run)
    name = plain(str(run.setting("name", run.folder.name)))
    parts = [f"# {card.title}: {name}", f"{plain(card.source)}. {card.tally}."]
    for title, found in card.sections.items():
        parts.append(f"## {title}")
        parts += [f"**{answer.item}.** {_answered(answer)}" for answer in found]
    return "\n\n".join(parts) + "\n"


def _answered(answer: answers.Answer) -> str:
    left = f"_{answers.UNANSWERED}: {plain(answer.open)}._" if answer.open else ""
    return f"{plain(answer.text)} {left}".strip()


def plain(text: str) -> str:
    """Return a text on one line with Markdown and HTML escaped."""
    escaped = MARKUP.sub(r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
