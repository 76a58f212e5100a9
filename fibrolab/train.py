"""Train, evaluate and track one classifier: `python -m fibrolab.train model=hybrid data=kaggle_fibrosis`."""

from omegaconf import DictConfig

from fibrolab.config import Job, command


def imported(_: DictConfig) -> Job:
    """Import and return the function that trains; it returns the monitored value, which a sweep compares."""
    from fibrolab.pipeline import run

    return run


def main() -> None:
    """Run `python -m fibrolab.train`."""
    command("train", imported)


if __name__ == "__main__":
    main()
