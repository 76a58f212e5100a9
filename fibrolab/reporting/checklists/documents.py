"""Documents of a run that its authors complete: the reporting checklists and the model card."""

import re
from pathlib import Path

from fibrolab import keys
from fibrolab.reporting import html
from fibrolab.reporting.checklists import items
from fibrolab.runs import trained_run as runs
from fibrolab.runs.trained_run import Run
from fibrolab.storage import put

CHECKLIST_FILE, MODEL_CARD_FILE = "checklist.html", "model_card.md"
LISTS = ("claim", "tripod_ai")
MARKUP = re.compile(r"([\\`*_{}\[\]()#!|~])")


def write_checklist(folder: Path) -> Path:
    """Write ``checklist.html`` from the files of a run.

    Args:
        folder: Folder of the run.

    Returns:
        The page.

    Raises:
        DataError: ``folder`` does not exist or is a file.
        StorageError: The disk is full or the folder cannot be written.
    """
    run = runs.read(folder)
    content = {
        "name": str(run.setting("name", folder.name)),
        "lists": {name: items.completed(name, run) for name in LISTS},
        "to_complete": items.TO_COMPLETE,
        "report": keys.REPORT_FILE,
    }
    return put(folder / CHECKLIST_FILE, html.render("checklist.html.j2", content))


def write_model_card(folder: Path) -> Path:
    """Write ``model_card.md`` from the files of a run (Mitchell et al., FAT* 2019).

    Args:
        folder: Folder of the run.

    Returns:
        The card.

    Raises:
        DataError: ``folder`` does not exist or is a file.
        StorageError: The disk is full or the folder cannot be written.
    """
    return put(folder / MODEL_CARD_FILE, model_card(runs.read(folder)).encode(errors="replace"))


def model_card(run: Run) -> str:
    """Return the card as Markdown: a heading per section, and a paragraph per item."""
    card = items.completed("model_card", run)
    name = plain(str(run.setting("name", run.folder.name)))
    parts = [f"# {card.title}: {name}", f"{plain(card.source)}. {card.tally}."]
    for title, of_section in card.sections.items():
        parts.append(f"## {title}")
        parts += [f"**{item.subject}.** {_paragraph(item)}" for item in of_section]
    return "\n\n".join(parts) + "\n"


def _paragraph(item: items.Item) -> str:
    left = f"_{items.TO_COMPLETE}: {plain(item.open)}._" if item.open else ""
    return f"{plain(item.text)} {left}".strip()


def plain(text: str) -> str:
    """Return a text on one line with Markdown and HTML escaped."""
    escaped = MARKUP.sub(r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
