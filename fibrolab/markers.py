"""Score clinical markers at end points: `python -m fibrolab.markers data=table data.path=patients.csv`."""

from omegaconf import DictConfig

from fibrolab.config import Job, command


def imported(_: DictConfig) -> Job:
    """Import and return the function that scores markers."""
    from fibrolab.analyses.scoring_markers import run

    return run


def main() -> None:
    """Run `python -m fibrolab.markers`."""
    command("markers", imported)


if __name__ == "__main__":
    main()
