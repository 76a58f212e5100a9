"""Register the exported model of a finished run in MLflow: `python -m fibrolab.register run=ID name=NAME`."""

from omegaconf import DictConfig

from fibrolab.config import Job, command
from fibrolab.runs import trained_run


def imported(config: DictConfig) -> Job:
    """Import and return the function that registers; it returns the address of the version.

    Raises:
        ConfigError: `run` names several runs.
    """
    config.run = trained_run.only(config.run)
    from fibrolab.analyses.registering import run

    return run


def main() -> None:
    """Run `python -m fibrolab.register`."""
    command("register", imported)


if __name__ == "__main__":
    main()
