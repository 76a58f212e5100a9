"""Compare new answers with their run's validation: `python -m fibrolab.monitor run=ID predictions=DIR`."""

from omegaconf import DictConfig

from fibrolab.config import Job, command
from fibrolab.runs import trained_run


def imported(config: DictConfig) -> Job:
    """Import and return the function that monitors; it returns the folder of its page.

    Raises:
        ConfigError: `run` names several runs.
    """
    config.run = trained_run.only(config.run)
    from fibrolab.analyses.monitoring import monitor

    return monitor


def main() -> None:
    """Run `python -m fibrolab.monitor`."""
    command("monitor", imported)


if __name__ == "__main__":
    main()
