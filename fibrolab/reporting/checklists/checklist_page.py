"""The page of a run's reporting checklists, CLAIM and TRIPOD+AI, as journals require them."""

from pathlib import Path

from fibrolab import keys
from fibrolab.reporting import html
from fibrolab.reporting.checklists import answers
from fibrolab.runs import trained_run as runs
from fibrolab.storage import put

FILE = "checklist.html"
LISTS = ("claim", "tripod_ai")


def write(folder: Path) -> Path:
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
    return put(folder / FILE, html.render("checklist.html.j2", content))
