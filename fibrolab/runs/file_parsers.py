"""Parsers of the files in a run's folder; each raises an error of `DAMAGE` on a damaged file."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fibrolab import allowed, keys
from fibrolab.storage import parse_yaml

# Errors of the parsers of damaged files; those of JSON, pandas and UTF-8 are ValueErrors.
DAMAGE = (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException)
IDS = (keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.SITE, keys.MANIFEST_HASH)  # "001" is not 1
SCORES = ("metric", "value")
TABLES = {  # further tables of an evaluation, NAME.csv, by the columns that each must have
    "patients_max": SCORES,
    "patients_vote": SCORES,
    "endpoints": ("level", "endpoint", "rule", "threshold", *SCORES),
    "calibration": ("level", "probabilities", "measure", "value"),
    "conformal": ("level", "alpha", "stage", "coverage"),
    "comparators": ("marker", "endpoint", "rule", *SCORES),
    "cohort": ("variable", "statistic", *keys.PARTITIONS),
    "subgroups": ("variable", "value", "metric", "estimate"),
    "mistakes": (keys.SAMPLE_ID, "true", "predicted"),
    "published": SCORES,
    "training": SCORES,
    "validation": SCORES,
    "bland_altman": ("class", "bias", "low", "high"),
    "pixel_calibration": ("class", "bin", "probability", "observed"),
    "segmentation": (keys.SAMPLE_ID, "class", "of", "dice"),
    "folds": ("of", keys.REPEAT, keys.FOLD, *SCORES),
    "explanation/tests": ("method", "branch", "test", "measure", "value", "passed", "sentence"),
}
NUMBERS = {  # numeric columns of these tables; every other column is text
    "bias", "observed", "pixels", "ece", "bin", "dice", "iou", "sensitivity", "specificity", "hd95", "asd",
    "area_true", "area_predicted",
    "value", "estimate", "low", "high", "mean", "sd", "baseline", "n_valid", "coverage", "threshold",
    "temperature", "alpha", "n", "n_positive", "groups", "mean_size", "alone", "cutoff", "p", "p_auc",
    "probability", "distance", "chance", "p_chance", "reference", keys.REPEAT, keys.FOLD,
}  # fmt: skip


def legible(path: Path) -> str:
    """Return a text to show, even if it is damaged; the parser of the same file reports the fault."""
    return path.read_text(encoding="utf-8", errors="replace")


def mapping(path: Path) -> dict[str, Any]:
    """Parse a mapping in JSON or YAML."""
    text = path.read_text(encoding="utf-8")
    content = json.loads(text) if path.suffix == ".json" else parse_yaml(text)
    if not isinstance(content, dict):
        raise ValueError("a mapping of names to values is expected")
    return content


def settings(path: Path) -> DictConfig:
    """Parse resolved settings, which name task and seed."""
    config = OmegaConf.load(path)
    if not isinstance(config, DictConfig):
        raise ValueError("it is a list")
    for name in ("task.classes", "task.name", "task.ordered", "seed"):
        if OmegaConf.select(config, name) is None:
            raise ValueError(f"it names no {name}")
    read = OmegaConf.to_container(OmegaConf.masked_copy(config, ["task", "seed"]), resolve=True)
    if faults := allowed.faults(read):  # type: ignore[arg-type]
        raise ValueError(next(iter(faults.values())))
    return config


def findings(path: Path) -> dict[str, Any]:
    """Parse the findings of an audit."""
    found = mapping(path)
    if "verdict" not in found:
        raise ValueError("it holds no verdict")
    return found


def explanation_findings(path: Path) -> list[dict[str, Any]]:
    """Parse the findings of an explanation, each with a key, a level and a sentence."""
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, list) or not all(
        isinstance(each, dict) and "sentence" in each for each in found
    ):
        raise ValueError("a list of findings is expected")
    return found


def states(folder: Path) -> frozenset[tuple[str | int, ...]]:
    """Return path, inode, size [bytes] and time [ns] of every file of a run that pages may read."""
    found = set()
    for path in (*folder.iterdir(), *(folder / keys.EXPLANATION).glob("*")):
        if path.suffix in (".csv", ".json", ".yaml") and path.is_file():
            state = path.stat()
            found.add((str(path), state.st_ino, state.st_size, state.st_mtime_ns))
    return frozenset(found)


def samples(path: Path) -> pd.DataFrame:
    """Parse a manifest, in which each sample occurs once and has a class."""
    from fibrolab.data.clinical import typed  # late: pages do not read the manifest

    table = texts(path, keys.SAMPLE_ID, keys.PATIENT_ID, keys.Y_TRUE)
    if twice := table.loc[table[keys.SAMPLE_ID].duplicated(), keys.SAMPLE_ID].tolist():
        raise ValueError(f"it names {twice[0]} twice")
    found = typed(table).astype({keys.Y_TRUE: int})
    if (found[keys.Y_TRUE] < 0).any():
        raise ValueError(f"a {keys.Y_TRUE} is below 0")
    return found


def networks(path: Path) -> pd.DataFrame:
    """Parse the table of the networks of several trainings."""
    table = texts(path, keys.REPEAT, keys.FOLD, "seed", "run", "train", "test", "checkpoint")
    return table.astype(dict.fromkeys((keys.REPEAT, keys.FOLD, "seed", "train", "test"), int))


def table(*columns: str) -> Callable[[Path], pd.DataFrame]:
    """Return a parser of CSV files that have at least these columns."""

    def parse(path: Path) -> pd.DataFrame:
        return _with(pd.read_csv(path, converters=dict.fromkeys(IDS, str)), columns)

    return parse


def scores(*columns: str) -> Callable[[Path], pd.DataFrame]:
    """Return a parser of tables with texts and numbers; a site named 007 and a class named NA stay texts."""

    def parse(path: Path) -> pd.DataFrame:
        table = texts(path, *columns)
        no_numbers = (
            {"value"} if "estimate" in columns else set()
        )  # of subgroups, the value is a site or a sex
        numeric = [column for column in table if column in NUMBERS - no_numbers]
        return table.assign(**{name: pd.to_numeric(table[name], errors="coerce") for name in numeric})

    return parse


def texts(path: Path, *columns: str) -> pd.DataFrame:
    """Parse a CSV file that has at least these columns; all cells are texts."""
    return _with(pd.read_csv(path, dtype=str, keep_default_na=False), columns)


def _with(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    if missing := [name for name in columns if name not in table]:
        raise ValueError(f"it has no column {', '.join(missing)}")
    return table
