"""Send what runs could not send to a tracking server that was away: `python -m fibrolab.sync`."""

from omegaconf import DictConfig

from fibrolab.config import Job, command


def imported(_: DictConfig) -> Job:
    """Import and return the function that sends."""
    from fibrolab.syncing import run

    return run


def main() -> None:
    """Run `python -m fibrolab.sync`."""
    command("sync", imported)


if __name__ == "__main__":
    main()
