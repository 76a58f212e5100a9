"""Score the predictions of a finished run anew: `python -m fibrolab.evaluate run=RUN_ID`."""

from omegaconf import DictConfig

from fibrolab.config import command


def job(config: DictConfig) -> None:
    """Metrics, figures and page from the files of a run."""
    from fibrolab import pipeline

    pipeline.evaluate(config)


def main() -> None:
    """Entry point of `python -m fibrolab.evaluate`."""
    command("evaluate", job)


if __name__ == "__main__":
    main()
