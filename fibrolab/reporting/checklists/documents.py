"""Documents of a run that its authors complete: reporting checklists (CLAIM, TRIPOD+AI), model card."""

import re
from pathlib import Path

from fibrolab import keys
from fibrolab.reporting import html
from fibrolab.reporting.checklists import answers
from fibrolab.runs import trained_run as runs
from fibrolab.runs.trained_run import Run
from fibrolab.storage import put

CHECKLIST_FILE, MODEL_CARD_FILE = "checklist.html", "model_card.md"
LISTS = ("claim", "tripod_ai")
MARKUP = re.compile(r"([\\`*_{}\[\]()#!|~])")


def write_checklist(folder: Path) -> Path:
    """Write ``checklist.html`` from the files of a run.

    Args:
        folder: Of the run.

    Returns:
        The page.

    Raises:
        DataError: ``folder`` is no folder.
        StorageError: The disk is full or the folder cannot be written.
    """
    run = runs.read(folder)
    content = {
        "name": str(run.setting("name", folder.name)),
        "lists": {name: answers.answered(name, run) for name in LISTS},
        "unanswered": answers.UNANSWERED,
        "report": keys.REPORT_FILE,
    }
    return put(folder / CHECKLIST_FILE, html.render("checklist.html.j2", content))


def write_model_card(folder: Path) -> Path:
    """Write ``model_card.md`` from the files of a run (Mitchell et al., FAT* 2019).

    Args:
        folder: Of the run.

    Returns:
        The card.

    Raises:
        DataError: ``folder`` is no folder.
        StorageError: The disk is full or the folder cannot be written.
    """
    return put(folder / MODEL_CARD_FILE, model_card(runs.read(folder)).encode(errors="replace"))


def model_card(run: Run) -> str:
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
