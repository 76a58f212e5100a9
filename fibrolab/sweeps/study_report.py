"""The report of a study in the folder of its run: tables, the optimism of its choice, and a page."""

import logging
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from optuna.trial import TrialState

from fibrolab import keys, tracking
from fibrolab.credentials import masked
from fibrolab.errors import FibrolabError
from fibrolab.evaluation import predictions, selection_optimism
from fibrolab.reporting import tuning_page
from fibrolab.storage import save_json
from fibrolab.sweeps import study_tables, this_job
from fibrolab.sweeps.shared_study import RUN, SharedStudy

logger = logging.getLogger(__name__)


def write(study: SharedStudy, folder: Path, uri: str, experiment: str) -> Path:
    """Write the tables, `optimism.json` and the page of a study, and return the page.

    Args:
        study: The study.
        folder: Folder of its run.
        uri: Tracking database or server.
        experiment: Words of the command that trains the chosen settings; empty if none were chosen.

    Raises:
        StorageError: The disk is full, or the database of the study cannot be used.
    """
    study_tables.write(study, folder)
    chosen = None
    if len(study.goals) == 1:
        chosen = study_tables.front(study)[0].number
        _write_optimism(study, folder, uri)
    command = masked(shlex.join(["python", "-m", "fibrolab.train", *this_job.as_typed(sys.argv[1:])]))
    goals = {goal.name: goal.mode for goal in study.goals}
    drawn = {each.name for each in study.space.everything() if getattr(each.distribution, "log", False)}
    return tuning_page.write(
        folder,
        study.name,
        goals,
        chosen=chosen,
        logarithmic=drawn,
        command=command,
        experiment=experiment,
    )


def _write_optimism(study: SharedStudy, folder: Path, uri: str) -> None:
    """Estimate the optimism of the choice; a log line says why, where it cannot be estimated."""
    runs = [
        str(trial.user_attrs[RUN])
        for trial in study.trials
        if trial.state == TrialState.COMPLETE and RUN in trial.user_attrs
    ]
    try:
        tables = [predictions.read(tracking.file_of(uri, run, keys.PREDICTIONS_FILE)) for run in runs]
        found = selection_optimism.estimate(tables, study.goals[0].name)
    except FibrolabError as error:
        logger.warning("The optimism of the choice among the trials is not estimated: %s", error)
        return
    save_json(asdict(found), folder / selection_optimism.FILE)
