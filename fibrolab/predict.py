"""Predict new samples with a finished run: `python -m fibrolab.predict run=RUN_ID input=PATH`."""

from omegaconf import DictConfig

from fibrolab.config import Job, command
from fibrolab.runs import trained_run


def imported(config: DictConfig) -> Job:
    """Import and return the function that predicts; it returns the folder of the answers.

    Raises:
        ConfigError: `run` names several runs.
    """
    config.run = trained_run.only(config.run)
    from fibrolab.analyses.predicting import predict

    return predict


def main() -> None:
    """Run `python -m fibrolab.predict`."""
    command("predict", imported)


if __name__ == "__main__":
    main()
