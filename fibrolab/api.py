"""The commands for Python and notebooks: the words of the command line give results as objects.

    from fibrolab import api

    run = api.train("model=hybrid", "data=phantom", "trainer.max_epochs=5")
    run.metrics      # a DataFrame
    run.report       # shown inline by Jupyter
    again = api.open_run(run.run_id)

A user's faults raise `fibrolab.errors.FibrolabError`. The process stays as it was: no signal handler,
no other working directory, and the state of a Hydra that is running.
"""

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from fibrolab import keys
from fibrolab.config import NO_CHOICE, VERSION_BASE, check, explain, folder, leaves_out_a_group
from fibrolab.config import run as perform
from fibrolab.errors import ConfigError
from fibrolab.runs import TrainedRun, open_run
from fibrolab.runs.inline_page import Page

__all__ = ["Audit", "Comparison", "audit", "compare", "evaluate", "open_run", "plan", "stack", "train"]


@dataclass(frozen=True)
class Audit:
    """Results of an audit.

    Attributes:
        folder: Folder of its files.
    """

    folder: Path

    @cached_property
    def found(self) -> dict[str, Any]:
        """Everything that was measured, as `audit.json` holds it."""
        content = json.loads((self.folder / keys.AUDIT_FILE).read_text(encoding="utf-8"))
        assert isinstance(content, dict)
        return content

    @property
    def verdict(self) -> str:
        """`ok`, `warning` or `fail`."""
        return str(self.found["verdict"])

    @property
    def report(self) -> Page:
        """The audit's page."""
        return Page(self.folder / keys.AUDIT_PAGE)


@dataclass(frozen=True)
class Comparison:
    """Results of a comparison.

    Attributes:
        id: MLflow's id of its run.
        folder: Folder of its files.
    """

    id: str
    folder: Path

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a difference, with its interval and tests."""
        from fibrolab.reporting.comparison_page import TABLE_FILE

        return pd.read_csv(self.folder / TABLE_FILE)

    @property
    def report(self) -> Page:
        """The comparison's page."""
        from fibrolab.reporting.comparison_page import PAGE_FILE

        return Page(self.folder / PAGE_FILE)


def train(*words: str) -> TrainedRun:
    """Train, evaluate and track one model, as `fibrolab train WORDS` does.

    Args:
        words: Overrides, such as `"model=hybrid"`.

    Raises:
        FibrolabError: A fault of the settings or the data.
    """
    with _composed("train", words) as config:
        from fibrolab.pipeline import train as job

        return open_run(perform(job, config).id, config.tracking.uri)


def evaluate(*words: str) -> TrainedRun:
    """Score a run again, or on other data, as `fibrolab evaluate WORDS` does.

    Returns:
        The run `run=ID`; with `data=OTHER` the new run on the other data.

    Raises:
        FibrolabError: A fault of the settings, the run or the data.
    """
    with _composed("evaluate", words) as config:
        from fibrolab.evaluate import imported

        return open_run(perform(imported(config), config), config.tracking.uri)


def stack(*words: str) -> TrainedRun:
    """Combine runs and clinical values by a regression, as `fibrolab stack WORDS` does.

    Raises:
        FibrolabError: A fault of the settings or the runs.
    """
    with _composed("stack", words) as config:
        from fibrolab.analyses.stacking import run as job

        return open_run(perform(job, config), config.tracking.uri)


def compare(*words: str) -> Comparison:
    """Compare runs on the same patients, as `fibrolab compare WORDS` does.

    Raises:
        FibrolabError: A fault of the settings or the runs.
    """
    with _composed("compare", words) as config:
        from fibrolab.analyses.comparing import run as job
        from fibrolab.tracking import finished

        done = perform(job, config)
        return Comparison(done, finished(config.tracking.uri, done))


def audit(*words: str) -> Audit:
    """Audit a data set under a split, as `fibrolab audit WORDS` does.

    Raises:
        FibrolabError: A fault of the settings or the data; with `audit.strict=true` a verdict of `fail`.
    """
    with _composed("audit", words) as config:
        from fibrolab.auditing import run as job

        perform(job, config)
        return Audit(Path(config.folder).absolute())


def plan(*words: str) -> pd.DataFrame:
    """Compute the number of patients that a study needs, as `fibrolab plan WORDS` does.

    Returns:
        One row a question: question, patients, positives, negatives, enrol.

    Raises:
        ConfigError: Settings that are out of range or contradict each other.
    """
    with _composed("plan", words) as config:
        from fibrolab.analyses.planning import run as job

        return pd.DataFrame(perform(job, config))


@contextmanager
def _composed(command: str, words: tuple[str, ...]) -> Iterator[DictConfig]:
    """Compose and check a command's config; while it is used, Hydra's global state is that of this command.

    Raises:
        ConfigError: Words that the command line would refuse.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.singleton import Singleton
    from hydra.core.utils import JobRuntime
    from hydra.errors import HydraException
    from hydra.version import VersionBase

    if flags := [word for word in words if word.startswith("-")]:
        raise ConfigError(f"{flags[0]} is a flag of the command line; give overrides, such as 'seed=1'.")
    before = dict(Singleton._instances)
    for kind in (GlobalHydra, HydraConfig, JobRuntime, VersionBase):
        Singleton._instances.pop(kind, None)
    try:
        try:
            with initialize_config_dir(str(folder()), job_name=command, version_base=VERSION_BASE):
                config = compose(command, list(words), return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(explain(error)) from error
        except ValueError as error:
            if not leaves_out_a_group(error):
                raise
            raise ConfigError(NO_CHOICE) from error
        HydraConfig.instance().set_config(config)
        settings = copy.deepcopy(config)
        with read_write(settings), open_dict(settings):
            del settings["hydra"]
        check(settings)
        yield settings
    finally:
        Singleton._instances.clear()
        Singleton._instances.update(before)
