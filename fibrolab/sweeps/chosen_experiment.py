"""The configuration that a study has chosen, as a file `experiment/NAME.yaml` that trains it again."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from fibrolab.storage import make_folder, put

OUTSIDE = ("experiment", "debug", "sweep", "paths", "tracking")  # groups whose choice is that of a command


class Composed(NamedTuple):
    """A composed config with its references, and the chosen option of each group."""

    config: DictConfig
    choices: Mapping[str, str]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that belong to an experiment."""
        plain = OmegaConf.to_container(self.config)
        assert isinstance(plain, dict)
        left_out = (*OUTSIDE, "resume", "name", "tuned_by")
        return {str(name): value for name, value in plain.items() if name not in left_out}


Compose = Callable[[Sequence[str]], Composed]


def write(
    folder: Path, name: str, chosen: Composed, compose: Compose, tuned_by: str, why: str, flags: str
) -> Path:
    """Write the experiment; one of the same name that another study has written stays.

    Args:
        folder: Folder of configs, which gets `experiment/NAME.yaml`.
        name: Name of the study.
        chosen: The chosen configuration.
        compose: Compose a config from overrides alone.
        tuned_by: Id of the run of the study.
        why: Part of a sentence on how it was chosen.
        flags: Words that its command needs before the overrides, with a blank behind them.

    Returns:
        The file.

    Raises:
        StorageError: The folder cannot be written.
    """
    options, settings, removed = _differences(chosen, compose)
    settings = {"name": name, "tuned_by": [tuned_by], **settings}
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")
    path = make_folder(folder / "experiment") / f"{plain}.yaml"
    if path.is_file() and tuned_by not in path.read_text(encoding="utf-8"):
        path = path.with_name(f"{plain}-{tuned_by[:8]}.yaml")
    words = " ".join([f"experiment={path.stem}", *(f"'~{key}'" for key in removed)])
    lines = ["# @package _global_", f"# {why}: python -m fibrolab.train {flags}{words}"]
    defaults = [{f"override /{group}": option} for group, option in options.items()]
    if defaults:
        lines.append(OmegaConf.to_yaml(OmegaConf.create({"defaults": defaults})).rstrip())
    lines.append(OmegaConf.to_yaml(OmegaConf.create(settings)))
    return put(path, "\n".join(lines).encode())


def _differences(chosen: Composed, compose: Compose) -> tuple[dict[str, str], dict[str, Any], list[str]]:
    """Return the options and settings by which a config differs from the default one, and what it lacks.

    Groups come first, then those within groups, such as the backbone of a branch, then single settings.
    """
    options: dict[str, str] = {}
    plain = compose([])
    for within in (False, True):
        further = {
            group: option
            for group, option in chosen.choices.items()
            if ("@" in group) == within
            and group.split("/")[0] not in ("hydra", *OUTSIDE)
            and plain.choices.get(group) != option
        }
        if further:
            options |= further
            plain = compose(_words(options))
    before = plain.settings
    return options, _changed(chosen.settings, before), list(_removed(chosen.settings, before))


def _words(options: Mapping[str, str]) -> list[str]:
    return [f"{group}={'null' if option is None else option}" for group, option in options.items()]


def _changed(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are new or have another value."""
    found = {}
    for name, value in now.items():
        if name not in before:
            found[name] = value
        elif isinstance(value, Mapping) and isinstance(before[name], Mapping):
            if inner := _changed(value, before[name]):
                found[name] = inner
        elif value != before[name]:
            found[name] = value
    return found


def _removed(now: Mapping[str, Any], before: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the names of settings that are missing, which a file cannot express."""
    for name, value in before.items():
        if name not in now:
            yield f"{above}{name}"
        elif isinstance(value, Mapping) and isinstance(now[name], Mapping):
            yield from _removed(now[name], value, f"{above}{name}.")
