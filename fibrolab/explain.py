"""Explain the network of a finished run: `python -m fibrolab.explain run=RUN_ID [input=PATH]`."""

from omegaconf import DictConfig

from fibrolab.command_line import exists
from fibrolab.config import Job, command
from fibrolab.errors import ConfigError, DataError


def imported(config: DictConfig) -> Job:
    """Import and return the function that explains a run; it returns the run's id, or a folder of maps.

    Raises:
        ConfigError: `run` is not a single id.
        DataError: `input` does not exist.
    """
    if not isinstance(config.run, str | int):
        raise ConfigError(f"run={config.run} is not one run: give an id, as `train` prints it.")
    config.run = str(config.run)  # YAML reads an id that consists of digits as a number
    if config.input is not None and not exists(str(config.input)):
        raise DataError(f"input={config.input} does not exist: give a picture, a film, a folder or a table.")
    from fibrolab.analyses.explaining import explain

    return explain


def main() -> None:
    """Run `python -m fibrolab.explain`."""
    command("explain", imported)


if __name__ == "__main__":
    main()
