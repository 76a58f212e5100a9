"""Faults of the data of another site, or of the run that predicts it, are reported before a run is opened."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from compose import composed, prepared
from drawn import unreported
from mlflow.tracking import MlflowClient
from PIL import Image

from fibrolab import keys
from fibrolab.analyses import external
from fibrolab.data import input_check
from fibrolab.data.manifest import Manifest
from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation import predictions
from fibrolab.pipeline import run

TRAINING = (
    "task=nominal", "data=folder", "data.image_size=32", "trainer.max_epochs=1", "trainer.accelerator=cpu",
    "num_workers=0", "batch_size=16", "bootstrap.resamples=20",
)  # fmt: skip
CLASSES = ("fatty", "normal (≤ 5 %)")


def tree(root: Path, seed: int, *names: str) -> Path:
    """Folders of noise, twenty pictures a class."""
    random = np.random.default_rng(seed)
    for level, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(20):
            coarse = Image.fromarray(random.integers(0, 120, (10, 12), dtype=np.uint8))
            grey = np.asarray(coarse.resize((48, 40))) + np.uint8(60 * level)
            Image.fromarray(grey).save(root / name / f"{number}.png")
    return root


pytestmark = pytest.mark.usefixtures("blank_figures")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path, cache: Path) -> tuple[Path, str]:
    """The root of a tracking database, and the id of a run whose task takes the classes of its data."""
    root = prepared(tmp_path_factory.mktemp("trained"), fresh_database, cache)
    here = tree(root / "here", 0, *CLASSES)
    with unreported():
        run(composed(f"paths.root={root}", f"data.root={here}", *TRAINING))
    return root, ids(root)[0]


def ids(root: Path) -> list[str]:
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    return [found.info.run_id for found in client.search_runs(["1"])]


def predict(root: Path, run_id: str, data: Path, *further: str) -> Path:
    """Predict a tree with the run, and return the folder of the new run."""
    words = [f"paths.root={root}", "data=folder", f"data.root={data}", "data.image_size=32"]
    quick = ["accelerator=cpu", "bootstrap.resamples=20"]
    external.run(composed(f"run={run_id}", *words, *quick, *further, name="evaluate"))
    return root / "mlruns" / "artifacts" / ids(root)[0] / "artifacts"


def test_other_data_with_the_classes_of_the_run_is_predicted(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    root, run_id = trained
    folder = predict(root, run_id, tree(tmp_path / "there", 1, *CLASSES))
    test = predictions.select(predictions.read(folder / keys.PREDICTIONS_FILE), keys.TEST)
    assert test[keys.Y_TRUE].value_counts().to_dict() == {0: 20, 1: 20}


@pytest.mark.parametrize("names", [("cyst", "tumour"), (*CLASSES, "tumour"), CLASSES[:1]])
def test_other_classes_are_refused_although_the_task_takes_any(
    trained: tuple[Path, str], tmp_path: Path, names: tuple[str, ...]
) -> None:
    root, run_id = trained
    before = ids(root)
    with pytest.raises(ConfigError, match="the network predicts fatty, normal"):
        predict(root, run_id, tree(tmp_path / "there", 1, *names))
    assert ids(root) == before


def test_the_advised_order_of_classes_is_accepted(trained: tuple[Path, str], tmp_path: Path) -> None:
    root, run_id = trained
    there = tree(tmp_path / "there", 1, *CLASSES)
    with pytest.raises(ConfigError, match="set ") as fault:
        predict(root, run_id, there, "data.classes=['normal (≤ 5 %)',fatty]")
    advised = shlex.split(str(fault.value).rpartition(": set ")[2].removesuffix("."))
    assert predict(root, run_id, there, *advised).is_dir()


def test_samples_without_what_the_network_needs_are_refused_before_a_run_is_opened(
    trained: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, run_id = trained
    before, there = ids(root), tree(tmp_path / "there", 3, *CLASSES)
    asked = []

    def lacks(manifest: Manifest, needed: Sequence[str]) -> list[str]:
        asked.append((len(manifest), needed))
        return ["The network needs image."]

    monkeypatch.setattr(input_check, "without_needed", lacks)
    with pytest.raises(DataError, match=r"^The network needs image\.$"):
        predict(root, run_id, there)
    assert asked == [(40, ["image"])]
    assert ids(root) == before


def test_a_run_without_a_network_is_replaced_by_the_one_that_trained_it(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    root, run_id = trained
    there = tree(tmp_path / "there", 2, *CLASSES)
    evaluated = predict(root, run_id, there).parent.name
    with pytest.raises(ConfigError, match="name the run that trained the network"):
        predict(root, evaluated, there)
    named = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db").get_run(evaluated).data.tags
    assert predict(root, named[external.EVALUATED], there).is_dir()


def test_a_missing_or_damaged_network_is_refused_before_a_run_is_opened(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    root, run_id = trained
    there, before = tree(tmp_path / "there", 1, *CLASSES), ids(root)
    best = root / "mlruns" / "artifacts" / run_id / "artifacts" / keys.CHECKPOINTS / "best.ckpt"
    whole = best.read_bytes()
    try:
        best.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=r"best\.ckpt is damaged"):
            predict(root, run_id, there)
        best.unlink()
        with pytest.raises(ConfigError, match="kept no network"):
            predict(root, run_id, there)
    finally:
        best.write_bytes(whole)
    assert ids(root) == before
