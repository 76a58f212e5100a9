"""The page of a study: the choice and its optimism, the course of the trials, and what the parameters do."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fibrolab import keys
from fibrolab.reporting import html, tuning_record
from fibrolab.reporting.figures import tuning as figures
from fibrolab.reporting.figures.style import save_all
from fibrolab.reporting.tables import table_files
from fibrolab.reporting.tables import tuning as sheets
from fibrolab.reporting.tuning_record import Study
from fibrolab.storage import put

PAGE_FILE = "study.html"
TITLES = {
    "result": "Result",
    "course": "Course of the study",
    "parameters": "Parameters",
    "trials": "Trials",
    "setup": "Command",
}


def write(
    folder: Path,
    name: str,
    goals: Mapping[str, str],
    *,
    chosen: int | None = None,
    logarithmic: Collection[str] = (),
    command: str = "",
    experiment: str = "",
) -> Path:
    """Write the figures, tables and page of a study from the tables in its folder.

    Args:
        folder: Folder of the study's run, with `trials.csv`, and `trials_progress.csv`, `importances.csv` and
            `optimism.json` if they exist.
        name: Name of the study.
        goals: Better end, `min` or `max`, of each validation metric by which trials are compared.
        chosen: Number of the chosen trial; by default the best one if there is one goal.
        logarithmic: Names of the parameters that were drawn on a logarithmic scale.
        command: Command that continues the study.
        experiment: Words of the command that trains the chosen settings, such as `experiment=NAME`.

    Returns:
        The page, ``study.html`` in that folder.

    Raises:
        DataError: The tables are missing or damaged.
        StorageError: The disk is full or the folder cannot be written.
    """
    study = tuning_record.read(folder, name, goals, chosen, logarithmic)
    save_all(dict(figures.drawn(study)), tuple(figures.CAPTIONS), folder / keys.FIGURES)
    found = {each: getattr(sheets, each)(study) for each in ("chosen", "best", "unfinished", "importances")}
    for sheet in found.values():
        if sheet.lines:
            table_files.save(sheet, folder / table_files.FOLDER)
    content = _content(folder, study, found) | {"command": command, "experiment": experiment}
    return put(folder / PAGE_FILE, html.render("tuning.html.j2", content))


def _content(folder: Path, study: Study, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return all values that the template shows."""
    drawn = html.pictures(folder / keys.FIGURES, lambda name: figures.CAPTIONS.get(name, name))
    few = len(study.finished) < tuning_record.FEW
    return {
        "name": study.name,
        "lead": tuning_record.lead(study),
        "sentences": tuning_record.sentences(study),
        "titles": TITLES,
        "sheets": found,
        "figures": drawn,
        "few": len(study.finished) if few and "importances" in drawn else 0,
        "no_importances": tuning_record.without_importances(study),
        "hidden": max(0, len(study.parameters) - figures.MOST),
        "trials_file": tuning_record.TRIALS_FILE,
        "tables_folder": table_files.FOLDER,
    }
