"""Configs composed within the test process, as by the commands."""

import copy
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from fibrolab.config import VERSION_BASE, folder

PLACE = "paths.root="


def composed(*overrides: str, name: str = "train") -> DictConfig:
    """Compose a config; equal words are composed once, for whatever `paths.root`."""
    config = copy.deepcopy(_composed(name, *(word for word in overrides if not word.startswith(PLACE))))
    for word in overrides:
        if word.startswith(PLACE):
            config.paths.root = word.removeprefix(PLACE)
    return config


@cache
def _composed(name: str, *overrides: str) -> DictConfig:
    with configs():
        return compose(name, list(overrides))


@contextmanager
def configs() -> Iterator[None]:
    """Let `hydra.compose` read our configs, by libyaml, a tenth of the time of composing."""
    with (
        pytest.MonkeyPatch.context() as patch,
        initialize_config_dir(str(folder()), version_base=VERSION_BASE),
    ):
        patch.setattr(yaml, "SafeLoader", getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # OmegaConf's base
        yield


def names(group: str) -> list[str]:
    """Options of a group; files with a leading underscore are bases of others."""
    root = folder() / group
    paths = sorted(root.rglob("*.yaml"))
    return [path.relative_to(root).with_suffix("").as_posix() for path in paths if path.stem[0] != "_"]


def run_folder(root: Path) -> Path:
    """The folder of the only run below `root`."""
    (config,) = root.glob("mlruns/artifacts/*/artifacts/config.yaml")
    return config.parent


def prepared(root: Path, database: Path, cache: Path) -> Path:
    """Prepare a `paths.root` with an empty tracking database and the shared cache, and return it."""
    (root / "cache").symlink_to(cache)
    (root / "mlruns").mkdir()
    shutil.copy(database, root / "mlruns")
    return root


def of_samples(group: str) -> list[str]:
    """Options of a group that classify samples; the others segment their images."""
    return [name for name in names(group) if name not in of_pixels(group)]


def of_pixels(group: str) -> list[str]:
    """Options of a group that are only for a segmentation, as their files say."""
    texts = {name: (folder() / group / f"{name}.yaml").read_text() for name in names(group)}
    return [name for name, text in texts.items() if "segmentation" in text or "_segmenter" in text]
