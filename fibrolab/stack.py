"""Combine finished runs with clinical values: `python -m fibrolab.stack runs=[ID,ID] columns=[lsm_kpa]`."""

from omegaconf import DictConfig

from fibrolab.config import Job, command


def imported(_: DictConfig) -> Job:
    """Import and return the function that stacks runs."""
    from fibrolab.analyses.stacking import run

    return run


def main() -> None:
    """Run `python -m fibrolab.stack`."""
    command("stack", imported)


if __name__ == "__main__":
    main()
