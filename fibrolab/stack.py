"""Combine finished runs with clinical values: `python -m fibrolab.stack runs=[ID,ID] columns=[lsm_kpa]`."""

from omegaconf import DictConfig

from fibrolab.config import command


def job(config: DictConfig) -> None:
    """A logistic regression on what the runs answered, as a run of its own."""
    from fibrolab.runs.stacking import run  # late: `--help` and a misspelt option answer at once

    run(config)


def main() -> None:
    """Entry point of `python -m fibrolab.stack`."""
    command("stack", job)


if __name__ == "__main__":
    main()
