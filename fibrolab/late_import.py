"""Import of the job of a command, which takes seconds, after the command has checked its settings."""

from collections.abc import Callable
from importlib import import_module

from omegaconf import DictConfig

from fibrolab.config import Job


def late(path: str) -> Callable[[DictConfig], Job]:
    """Return a function for `config.command` that imports and returns a job.

    A setting `run` must name one run, which that function checks first.

    Args:
        path: Dotted path of the job.
    """

    def imported(config: DictConfig) -> Job:
        if "run" in config:
            from fibrolab.runs import trained_run  # it loads pandas

            config.run = trained_run.only(config.run)
        module, _, name = path.rpartition(".")
        job: Job = getattr(import_module(module), name)
        return job

    return imported
