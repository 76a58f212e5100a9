"""Score a finished run anew, or on other data: `python -m fibrolab.evaluate run=RUN_ID [data=OTHER]`."""

from omegaconf import DictConfig

from fibrolab.config import command
from fibrolab.errors import ConfigError


def job(config: DictConfig) -> None:
    """Metrics, figures and page: from the files of the run alone, or on the data that is named."""
    if not isinstance(config.run, str | int):
        raise ConfigError(f"run={config.run} is not one run: give an id, as `train` prints it.")
    config.run = str(config.run)  # YAML takes an id of digits alone for a number
    if config.get("data") is None:
        from fibrolab import pipeline

        pipeline.evaluate(config)
    else:
        from fibrolab.runs import external

        external.run(config)


def main() -> None:
    """Entry point of `python -m fibrolab.evaluate`."""
    command("evaluate", job)


if __name__ == "__main__":
    main()
