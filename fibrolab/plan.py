"""How many patients a study needs: `python -m fibrolab.plan auc=0.85 against=0.75 prevalence=0.4`."""

from omegaconf import DictConfig

from fibrolab.config import command


def job(config: DictConfig) -> None:
    """A small table on the terminal; nothing is written."""
    from fibrolab.runs.planning import run  # late: `--help` and a misspelt option answer at once

    run(config)


def main() -> None:
    """Entry point of `python -m fibrolab.plan`."""
    command("plan", job)


if __name__ == "__main__":
    main()
