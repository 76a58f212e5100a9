"""Score a finished run anew, or on other data: `python -m fibrolab.evaluate run=RUN_ID [data=OTHER]`."""

from omegaconf import DictConfig

from fibrolab.config import Job, command
from fibrolab.errors import ConfigError


def imported(config: DictConfig) -> Job:
    """Import and return the function that scores a run from its files alone, or on the data that is named.

    Raises:
        ConfigError: `run` is not one id.
    """
    if not isinstance(config.run, str | int):
        raise ConfigError(f"run={config.run} is not one run: give an id, as `train` prints it.")
    config.run = str(config.run)  # YAML reads an id of digits alone as a number
    if config.get("data") is None:
        from fibrolab.analyses.evaluating import evaluate

        return evaluate
    from fibrolab.analyses.external import run

    return run


def main() -> None:
    """Run `python -m fibrolab.evaluate`."""
    command("evaluate", imported)


if __name__ == "__main__":
    main()
