"""Compare finished runs on the same patients: `python -m fibrolab.compare runs=[ID,ID]`."""

from omegaconf import DictConfig

from fibrolab.config import Job, command


def imported(_: DictConfig) -> Job:
    """Import and return the function that compares runs."""
    from fibrolab.analyses.comparing import run

    return run


def main() -> None:
    """Run `python -m fibrolab.compare`."""
    command("compare", imported)


if __name__ == "__main__":
    main()
