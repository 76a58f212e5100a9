"""Evaluate a finished run again, or on other data: `python -m fibrolab.evaluate run=RUN_ID [data=OTHER]`."""

from omegaconf import DictConfig

from fibrolab.config import Job, command
from fibrolab.errors import ConfigError


def imported(config: DictConfig) -> Job:
    """Import and return the function that evaluates a run: from its own files, or on the data given.

    Raises:
        ConfigError: `run` is not a single id, or a setting of `data` is refused.
        DataError: The table of the data lacks a column.
    """
    if not isinstance(config.run, str | int):
        raise ConfigError(f"run={config.run} is not one run: give an id, as `train` prints it.")
    config.run = str(config.run)  # YAML reads an id that consists of digits as a number
    if config.get("data") is None:
        from fibrolab.analyses.evaluating import evaluate

        return evaluate
    from fibrolab import loading

    loading.check(config)  # before the import of torch, which takes seconds
    loading.check_table(config)
    from fibrolab.analyses.external import run

    return run


if __name__ == "__main__":
    command("evaluate", imported)
