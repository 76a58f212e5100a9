"""Train, evaluate and track one classifier: `python -m fibrolab.train model=hybrid data=kaggle_fibrosis`."""

import sys

from omegaconf import DictConfig

from fibrolab.config import Job, command
from fibrolab.errors import ConfigError
from fibrolab.sweeps import jobs, this_job
from fibrolab.training import devices, ranks


def imported(config: DictConfig) -> Job:
    """Import and return the function that trains; it returns the monitored value, which a sweep compares.

    The import takes seconds: settings that can be judged without it, and a table without a column that is
    needed, are refused before. A job of a sweep is refused later, within its run, so that the sweep shows
    that this job has failed. A resumed run has settings of its own.

    Raises:
        FibrolabError: A setting or the table is refused.
    """
    from hydra.core.hydra_config import HydraConfig

    if this_job.in_multirun():
        chosen = HydraConfig.get().runtime.choices["hydra/launcher"]
        raise ConfigError(
            f"hydra/launcher={chosen} does not give each job of a sweep a process of its own: leave it "
            "out, or set hydra/launcher=fibrolab."
        )
    if jobs.current() is None and config.resume is None:
        from fibrolab import early_audit
        from fibrolab.training import settings

        settings.check(config)
        settings.check_table(config)
        early_audit.start(config)
    from fibrolab.cross_validation import run

    return run


def main() -> None:
    """Run `python -m fibrolab.train`; of the processes of torchrun or srun, the first runs the command."""
    here = devices.place()
    if here.rank > 0:
        sys.exit(ranks.follow(here))
    with ranks.leading(here):
        command("train", imported)


if __name__ == "__main__":
    main()
