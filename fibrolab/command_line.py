"""Words of the command line: quotes for Hydra's grammar, and sentences on words that it refuses."""

import difflib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import MarkedYAMLError

from fibrolab.credentials import to_environment
from fibrolab.storage import parse_yaml

NO_CHOICE = "GROUP=null leaves out a required group; name one of its choices, see --help"
SEVERAL = 3  # settings with the same last part that a sentence names
NEAR = 0.75  # similarity from which a name is suggested; below it, suggestions mislead
# What users of other tools call a setting of ours. Settings with the same last part need no entry.
SYNONYMS = {
    "amp": "trainer.precision=bf16-mixed",
    "arch": "backbone@model.branches.image=NAME",
    "architecture": "backbone@model.branches.image=NAME",
    "backbone": "backbone@model.branches.image=NAME",
    "batch": "batch_size",
    "bs": "batch_size",
    "checkpoint": "resume=RUN_ID, or the command evaluate",
    "ckpt": "resume=RUN_ID, or the command evaluate",
    "ckpt_path": "resume=RUN_ID, or the command evaluate",
    "criterion": "loss",
    "cuda": "trainer.accelerator=gpu",
    "data_dir": "data.root",
    "data_path": "data.root",
    "dataset": "data",
    "datamodule": "data",
    "device": "trainer.accelerator",
    "epochs": "trainer.max_epochs",
    "experiment_name": "tracking.experiment",
    "fp16": "trainer.precision=16-mixed",
    "gpus": "trainer.devices",
    "img_size": "preprocess.size",
    "image_size": "preprocess.size",
    "imgsz": "preprocess.size",
    "k_folds": "split.folds",
    "kfold": "split=kfold",
    "learning_rate": "optimizer.lr",
    "logger": "loggers",
    "lr_scheduler": "scheduler",
    "model_name": "model=NAME, or backbone@model.branches.image=NAME",
    "n_epochs": "trainer.max_epochs",
    "n_splits": "split.folds",
    "num_epochs": "trainer.max_epochs",
    "opt": "optimizer",
    "out": "paths.root",
    "output_dir": "paths.root",
    "resume_from_checkpoint": "resume=RUN_ID",
    "run_name": "name",
    "sched": "scheduler",
    "seed_everything": "seed",
    "tags": "name, which MLflow shows",
    "transforms": "augment",
    "wandb": "loggers=wandb",
    "workers": "num_workers",
}

_OVERRIDE = re.compile(r"(?P<key>\+{0,2}[\w./@-]+)=(?P<value>.+)", re.DOTALL)
_TRAINER = re.compile(r"^trainer\.\w+(?==)")
WITH_TRAINER = "train"  # the command whose settings include a trainer
_NUMBER = re.compile(r"[\d._]+")  # read as a number, though a folder may be called 2024 or 007
PLACES = (".root", ".path", "folder")  # ends of the settings that name files and folders
_PLAIN = re.compile(r"[\w./+-]+", re.ASCII)  # read by the grammar as what it is


def prepared(command: str, words: Iterable[str]) -> list[str]:
    """Return the words of a command line as Hydra takes them.

    Passwords move to the environment, values are quoted (`quoted`), and an argument of Lightning's Trainer
    needs no `+` though no config names it: `training.checks` knows which there are. A `-m` moves to the
    front, since argparse refuses it between overrides.

    Args:
        command: Name of the command.
        words: Overrides and flags.
    """
    found = sorted(quoted(to_environment(words)), key=lambda word: word not in ("-m", "--multirun"))
    return [_TRAINER.sub(r"++\g<0>", word) for word in found] if command == WITH_TRAINER else found


def quoted(words: Iterable[str]) -> list[str]:
    """Return the words with quotes around each value that Hydra would otherwise refuse or misread.

    Hydra's grammar refuses brackets, ``=``, letters beyond ASCII and many signs, drops blanks at an end, and
    takes a comma for a sweep. A value is quoted if it names a file or folder that exists, or if it can be
    parsed in quotes only; a broken list or mapping is left to be refused.
    """
    return [_quoted(word) for word in words]


def _quoted(word: str) -> str:
    match = _OVERRIDE.fullmatch(word)
    if match is None or match["value"][0] in "'\"":
        return word
    is_text = bool(_NUMBER.fullmatch(match["value"])) and match["key"].endswith(PLACES)
    if _PLAIN.fullmatch(match["value"]) and not is_text:
        return word
    is_text = is_text or exists(match["value"]) or (match["value"][0] not in "[{" and not _parses(word))
    in_quotes = f"{match['key']}={quote(match['value'])}"
    return in_quotes if is_text and _parses(in_quotes) else word


def exists(path: str, test: Callable[[Path], bool] = Path.exists) -> bool:
    """Return whether a path that a user typed exists, or passes another test such as `Path.is_file`."""
    try:
        return test(Path(path).expanduser())
    except (OSError, RuntimeError, ValueError):  # too long, the home of nobody, a zero byte
        return False


def quote(value: str) -> str:
    """Return a value in single quotes, as Hydra's grammar escapes them."""
    escaped = re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", value)
    closing = escaped[len(escaped.rstrip("\\")) :]  # backslashes in front of the closing quote
    return f"'{escaped}{closing}'"


def _parses(word: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as `group.key: value`, named as on the command line."""
    leaves: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        leaves |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return leaves


def leaves_out_a_group(error: Exception) -> bool:
    """Return whether a ValueError of Hydra was caused by `GROUP=null`; its text does not say so."""
    return "Config group override" in str(error)


def explain(error: Exception, conf: Path) -> str:
    """Return a sentence on a config that Hydra refused, with the setting that was probably meant.

    Args:
        error: What Hydra raised, or the parser of a user's own YAML.
        conf: Folder of the configs.
    """
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark):
        return f"{mark.name}, line {mark.line + 1}, is not valid YAML: {error.problem}."
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    text = str(error).strip()
    if match := re.search(r"Could not find '([\w/@.]+)/([^'/]+)'", text):
        group, given = match.groups()
        root = conf / group
        paths = (path.relative_to(root).with_suffix("") for path in root.rglob("[!_]*.yaml"))
        known = sorted(path.as_posix() for path in paths)
        choices = ", ".join(known)
        return f"{group}={given} does not exist.{_did_you_mean(given, known)} {group} is one of: {choices}."
    if match := re.search(r"Could not override '([^']+)'", text) or re.search(
        r"Key '([^']+)' is not in struct", text
    ):
        given, known = match[1], _settings(conf)
        if given in known and given not in SYNONYMS:
            return f"'{given}' is not a setting of the chosen configs. `--cfg job` prints all settings."
        return f"'{given}' is not a setting.{_meant(given, known)} `--cfg job` prints all settings."
    if isinstance(cause, MissingMandatoryValue) or "Missing mandatory value" in text:
        return missing_value(str(getattr(cause, "full_key", "") or text.rsplit(maxsplit=1)[-1]))
    first, *rest = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join([first, *(line for line in rest if "HYDRA_FULL_ERROR" not in line)])


def missing_value(key: str) -> str:
    """Return a sentence on a setting that has no value."""
    return f"{key} must be given, such as {key}=VALUE."


def _meant(given: str, known: list[str]) -> str:
    """Return a question that names the setting that was probably meant; empty where none is near."""
    last = given.rpartition(".")[2]
    same = {name for name in known if name.rpartition(".")[2] == last}
    if last in SYNONYMS and not (same and "." in given):
        return f" Did you mean {SYNONYMS[last]}?"
    if 0 < len(same) <= SEVERAL:
        shown = "' or '".join(sorted(same, key=len))
        return f" Did you mean '{shown}'?"
    return _did_you_mean(given, known)


def _did_you_mean(given: str, known: list[str]) -> str:
    near = difflib.get_close_matches(given, known, n=1, cutoff=NEAR)
    return f" Did you mean '{near[0]}'?" if near else ""


def _settings(conf: Path) -> list[str]:
    """Return the names of all groups and settings, for suggestions; slow, so only called after an error."""
    names = [path.relative_to(conf).as_posix() for path in conf.rglob("*") if path.is_dir()]
    for path in conf.rglob("*.yaml"):
        group = path.relative_to(conf).parent.as_posix().replace("/", ".")
        if group.split(".")[0] in ("experiment", "debug", "sweep"):
            continue
        content = parse_yaml(path.read_text())
        if isinstance(content, dict):
            prefix = "" if group == "." else f"{group}."
            names += flat({str(key): value for key, value in content.items() if key != "defaults"}, prefix)
    return names
