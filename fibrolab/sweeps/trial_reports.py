"""A trial's side of its study: it reports values, and asks whether it is pruned."""

import logging
import warnings
from functools import cached_property

import optuna
from omegaconf import OmegaConf
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from sqlalchemy.exc import SQLAlchemyError

from fibrolab.credentials import masked
from fibrolab.sweeps import search_algorithms
from fibrolab.sweeps.jobs import Trial
from fibrolab.sweeps.shared_study import PRUNER, Database

logger = logging.getLogger(__name__)


class TrialReports:
    """Reports of one trial to its study. A database that is away delays no training: it then goes on.

    Args:
        trial: The trial, from its job.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    @cached_property
    def _handle(self) -> optuna.Trial:
        url = OmegaConf.create({"url": self._trial.storage}).url  # its password is in the environment
        study = optuna.load_study(study_name=self._trial.study, storage=Database(url).storage)
        study.pruner = search_algorithms.pruner(*study.user_attrs[PRUNER])
        return optuna.Trial(study, self._trial.id)

    def is_pruned(self, step: int, value: float) -> bool:
        """Report a value, and return whether the trial ends here; with several goals, do nothing.

        Args:
            step: Number of epochs, or of folds, that are done.
            value: The monitored value.
        """
        try:
            if len(self._handle.study.directions) > 1:
                return False
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # a second report of an epoch, after resuming
                self._handle.report(value, step)
            return self._trial.prunes and self._handle.should_prune()
        except UpdateFinishedTrialError:
            logger.warning("The sweep has given this trial up; its result will be left out of the study.")
            return False
        except (SQLAlchemyError, StorageInternalError, OSError) as error:
            logger.warning("The study could not be told the value of step %d: %s", step, masked(str(error)))
            return False
