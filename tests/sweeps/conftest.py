"""Studies within the test process: settings of a sweep as its command composes them, and databases."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from compose import configs
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from fibrolab.command_line import prepared
from fibrolab.sweeps import tuning
from fibrolab.sweeps.shared_study import Database

Planned = Callable[..., tuple[tuning.Plan, tuning.Composer]]


@pytest.fixture(scope="session")
def empty_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of studies without any; making its tables takes longer than a copy."""
    place = tmp_path_factory.mktemp("studies") / "optuna.db"
    Database(f"sqlite:///{place}")
    return place


@pytest.fixture
def studies(tmp_path: Path, empty_studies: Path) -> Path:
    """A folder with an empty database of studies."""
    shutil.copy(empty_studies, tmp_path / "optuna.db")
    return tmp_path


@pytest.fixture
def planned(studies: Path) -> Iterator[Planned]:
    """Return a function that plans the study of a command line, as Hydra's plugin does."""
    before = HydraConfig.instance().cfg

    def plan(*words: str) -> tuple[tuning.Plan, tuning.Composer]:
        given = prepared("train", [*words, f"paths.root={studies}"])
        parser = [word for word in given if word.startswith("hydra") or "(" not in word]
        storage = f"hydra.sweeper.storage=sqlite:///{studies}/optuna.db"
        own = [] if any("sweeper.storage" in word for word in given) else [storage]
        chosen = [] if any(word.startswith("sweep=") for word in given) else ["hydra/sweeper=optuna"]
        master: DictConfig = compose("train", [*chosen, *parser, *own], return_hydra_config=True)
        with open_dict(master):
            master.hydra.sweep.dir = str(studies / "sweep")
            master.hydra.runtime.config_sources = []
        composer = tuning.Composer(GlobalHydra.instance().config_loader(), master)
        arguments = [word for word in given if not word.startswith("hydra")]
        return tuning.planned(arguments, master, composer), composer

    with configs():
        yield plan
    HydraConfig.instance().cfg = before
