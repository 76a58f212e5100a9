"""Set finished runs side by side on the same patients: `python -m fibrolab.compare runs=[ID,ID]`."""

from omegaconf import DictConfig

from fibrolab.config import command


def job(config: DictConfig) -> None:
    """Differences with intervals and tests, as a page and a run of its own."""
    from fibrolab.runs.comparing import run  # late: `--help` and a misspelt option answer at once

    run(config)


def main() -> None:
    """Entry point of `python -m fibrolab.compare`."""
    command("compare", job)


if __name__ == "__main__":
    main()
