"""Audit a data set and its split: `python -m fibrolab.audit data=kaggle_fibrosis data.root=DIR`."""

from omegaconf import DictConfig

from fibrolab.config import Job, command


def imported(_: DictConfig) -> Job:
    """Import and return the function that audits a data set; it returns the verdict."""
    from fibrolab.auditing import run

    return run


def main() -> None:
    """Run `python -m fibrolab.audit`."""
    command("audit", imported)


if __name__ == "__main__":
    main()
