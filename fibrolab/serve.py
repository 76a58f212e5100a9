"""Serve a finished run to readers and other programs: `python -m fibrolab.serve run=RUN_ID`."""

from omegaconf import DictConfig

from fibrolab.config import Job, command
from fibrolab.runs import trained_run


def imported(config: DictConfig) -> Job:
    """Import and return the function that serves.

    Raises:
        ConfigError: `run` names several runs.
    """
    config.run = trained_run.only(config.run)
    from fibrolab.serving.start import serve

    return serve


def main() -> None:
    """Run `python -m fibrolab.serve`."""
    command("serve", imported)


if __name__ == "__main__":
    main()
