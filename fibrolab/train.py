"""Train, evaluate and track one classifier: `python -m fibrolab.train model=hybrid data=kaggle_fibrosis`."""

from omegaconf import DictConfig

from fibrolab.config import command


def job(config: DictConfig) -> float | None:
    """One run; returns the monitored value, which a sweep compares."""
    from fibrolab.pipeline import run  # late: `--help` and a misspelt option answer at once

    return run(config)


def main() -> None:
    """Entry point of `python -m fibrolab.train` and `fibrolab-train`."""
    command("train", job)


if __name__ == "__main__":
    main()
