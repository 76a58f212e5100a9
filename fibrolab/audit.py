"""Audit a data set under a split: `python -m fibrolab.audit data=kaggle_fibrosis data.root=DIR`."""

from omegaconf import DictConfig

from fibrolab.config import command


def job(config: DictConfig) -> str:
    """One audit; returns its verdict."""
    from fibrolab.auditing import run  # late: `--help` and a misspelt option answer at once

    return run(config)


def main() -> None:
    """Entry point of `python -m fibrolab.audit`."""
    command("audit", job)


if __name__ == "__main__":
    main()
