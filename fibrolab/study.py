"""Run a study of several arms, or rebuild or check its tables: `python -m fibrolab.study study=paper1`."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import yaml
from omegaconf import DictConfig

from fibrolab import config as configs
from fibrolab.config import Job, command


def divided(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divide the words of a command line into those of `conf/study.yaml`, and settings of every training.

    Args:
        words: Overrides and flags.
    """
    own = set(yaml.safe_load(Path(configs.folder() / "study.yaml").read_text(encoding="utf-8")))
    own |= {"paths", "tracking"}
    ours, passed = list[str](), list[str]()
    for word in words:
        setting = word.lstrip("+~").partition("=")[0].partition(".")[0].partition("/")[0]
        (ours if word.startswith("-") or setting in own else passed).append(word)
    return ours, passed


def imported(passed: Sequence[str], _: DictConfig) -> Job:
    """Import and return the function that runs a study; it returns the folder of its results.

    Args:
        passed: Settings of every training.
    """
    from fibrolab.studies.running import run

    return partial(run, passed=passed)


def main() -> None:
    """Run `python -m fibrolab.study`."""
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        sys.exit("error: study starts its trainings itself, so leave -m out; n_jobs of hydra.launcher works.")
    sys.argv[1:], passed = divided(sys.argv[1:])
    command("study", partial(imported, passed))


if __name__ == "__main__":
    main()
