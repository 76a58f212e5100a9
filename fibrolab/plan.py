"""Plan the number of patients of a study: `python -m fibrolab.plan auc=0.85 against=0.75 prevalence=0.4`."""

from omegaconf import DictConfig

from fibrolab.config import Job, command


def imported(_: DictConfig) -> Job:
    """Import and return the function that prints the patients a study needs."""
    from fibrolab.analyses.planning import run

    return run


def main() -> None:
    """Run `python -m fibrolab.plan`."""
    command("plan", imported)


if __name__ == "__main__":
    main()
