"""Weights that an earlier run left: found, checked, and refused where they have seen the test samples."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from compose import composed, prepared, run_folder
from drawn import unrendered
from omegaconf import OmegaConf
from own_data import PHANTOMS

from fibrolab import keys
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.data.splits import Split
from fibrolab.errors import ConfigError, SplitError, WeightsError
from fibrolab.loading import load
from fibrolab.pipeline import run
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.training import earlier_weights
from fibrolab.training.earlier_weights import with_weights_of_runs
from fibrolab.training.fitting import build_module

SMALL = [
    "preprocess.size=32",
    "trainer.max_epochs=1",
    "num_workers=0",
    "bootstrap.resamples=20",
    *PHANTOMS["phantom"],
]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path, cache: Path) -> tuple[Path, str]:
    """Root and id of a run with one branch."""
    root = prepared(tmp_path_factory.mktemp("earlier"), fresh_database, cache)
    with unrendered():
        run(composed(f"paths.root={root}", *SMALL))
    return root, run_folder(root).parent.name


def asked(earlier: tuple[Path, str], *overrides: str):
    root, _ = earlier
    config = composed(f"paths.root={root}", *SMALL, *overrides)
    data = load(config)
    return config, data


def test_a_branch_begins_where_the_earlier_run_ended(earlier: tuple[Path, str]) -> None:
    root, number = earlier
    config, data = asked(earlier, f"model.branches.image.weights=run:{number}")
    module = build_module(with_weights_of_runs(config, data), data)
    kept = torch.load(run_folder(root) / keys.CHECKPOINTS / "best.ckpt", weights_only=True)["state_dict"]
    ours = module.network.branches.state_dict()
    assert ours
    assert all(torch.equal(value, kept[f"network.branches.{name}"]) for name, value in ours.items())
    assert config.model.branches.image.weights == f"run:{number}"


def test_every_branch_of_a_fusion_may_begin_with_a_run(earlier: tuple[Path, str]) -> None:
    number = earlier[1]
    overrides = ["model=hybrid", "backbone@model.branches.a=tiny", "backbone@model.branches.b=tiny"]
    weights = [f"model.branches.a.weights=run:{number}/image", f"model.branches.b.weights=run:{number}"]
    config, data = asked(earlier, *overrides, *weights)
    module = build_module(with_weights_of_runs(config, data), data)
    a, b = (module.network.branches[name].state_dict() for name in ("a", "b"))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        (["model.branches.image.weights=run:{id}/imgae"], WeightsError, "Did you mean image"),
        (["model.branches.image.weights=run:nowhere"], ConfigError, "no run nowhere"),
        (
            ["backbone@model.branches.image=resnet18", "model.branches.image.weights=run:{id}"],
            WeightsError,
            "name test_resnet there, resnet18 here",
        ),
        (
            ["model.branches.image.scaling=unit", "model.branches.image.weights=run:{id}"],
            WeightsError,
            "scaling backbone there, unit here",
        ),
        (["model.branches.image.weights=run:{id}", "seed=1"], SplitError, "test samples"),
    ],
)
def test_weights_that_cannot_be_taken_are_refused(
    earlier: tuple[Path, str], overrides: list[str], error: type[Exception], words: str
) -> None:
    config, data = asked(earlier, *(word.format(id=earlier[1]) for word in overrides))
    with pytest.raises(error, match=words):
        with_weights_of_runs(config, data)


def test_a_leak_is_judged_by_patients_not_by_samples_alone(earlier: tuple[Path, str]) -> None:
    config, data = asked(earlier, f"model.branches.image.weights=run:{earlier[1]}", "seed=1")
    renamed = data.manifest.table.assign(sample_id=[f"other{row}" for row in range(len(data.manifest))])
    object.__setattr__(data.manifest, "table", renamed)
    with pytest.raises(SplitError, match="others of their patients"):
        with_weights_of_runs(config, data)


def test_a_run_of_another_data_set_says_nothing_about_ours(earlier: tuple[Path, str]) -> None:
    config, data = asked(earlier, f"model.branches.image.weights=run:{earlier[1]}", "seed=1")
    object.__setattr__(data.manifest, "name", "elsewhere")
    random = np.random.default_rng(0)
    hashes = [random.bytes(len(data.facts[keys.IMAGE]["phash"][0]) // 2).hex() for _ in data.labels]
    data.facts[keys.IMAGE][["sha256", "phash"]] = np.array([hashes, hashes]).T
    resolved = with_weights_of_runs(config, data)  # the patients bear the same names
    assert resolved.model.branches.image.weights.endswith("best.ckpt#network.branches.image")


@pytest.mark.parametrize("blank", ["sha256", "phash"])
def test_the_same_images_under_another_name_are_recognised(earlier: tuple[Path, str], blank: str) -> None:
    config, data = asked(earlier, f"model.branches.image.weights=run:{earlier[1]}", "seed=1")
    renamed = {name: [f"x{row}" for row in range(len(data.manifest))] for name in ("sample_id", "group_id")}
    object.__setattr__(data.manifest, "table", data.manifest.table.assign(**renamed))
    object.__setattr__(data.manifest, "name", "elsewhere")
    data.facts[keys.IMAGE][blank] = ""
    with pytest.raises(SplitError, match="test samples, copies of them"):
        with_weights_of_runs(config, data)


def test_the_split_of_the_earlier_run_can_be_asked_for(earlier: tuple[Path, str]) -> None:
    root, number = earlier
    split = run_folder(root) / keys.SPLIT_FILE
    assert set(pd.read_csv(split)[keys.PARTITION]) == {keys.TRAIN, keys.VALIDATION, keys.TEST}
    saved = ["split=saved", f"split.path={split}", "seed=1", f"model.branches.image.weights=run:{number}"]
    config, data = asked(earlier, *saved)
    assert with_weights_of_runs(config, data).model.branches.image.weights != f"run:{number}"


TRAIN, VALIDATION, TEST = keys.PARTITIONS
PATIENTS = ("NA", "Ng", "Nu", "Null")  # who an absent-minded reader of tables would lose


def clinic(*partitions: str) -> LabelledData:
    """One sample of each patient, and who trains, validates and tests."""
    samples = {keys.SAMPLE_ID: list(PATIENTS), keys.PATIENT_ID: list(PATIENTS), keys.LABEL: [0, 1, 0, 1]}
    manifest = Manifest(
        pd.DataFrame(samples).assign(image="a.png"), ("mild", "severe"), "clinic", Path("nowhere")
    )
    return LabelledData(manifest, {}, manifest.labels, ["mild", "severe"], Split(np.array(partitions), 0, 0))


def left(folder: Path, data: LabelledData, **branch: object) -> None:
    """What a run on some data left behind, as far as it is read."""
    (folder / keys.CHECKPOINTS).mkdir(parents=True)
    (folder / keys.CHECKPOINTS / "best.ckpt").touch()
    model = {"branches": {"image": {"name": "tiny", **branch}}} if branch else {"name": "stack"}
    task = {"name": "ge_F2", "classes": data.classes, "ordered": True}
    config = {"data": {"name": data.manifest.name}, "model": model, "task": task, "seed": 0}
    OmegaConf.save(config, folder / keys.CONFIG_FILE)
    table = data.manifest.table
    table.assign(**{keys.Y_TRUE: data.labels}).to_csv(folder / keys.MANIFEST_FILE, index=False)
    split = table[[keys.SAMPLE_ID]].assign(partition=data.split.partitions, manifest=data.manifest.hash)
    split.to_csv(folder / keys.SPLIT_FILE, index=False)


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What `weights: run:a` becomes, the runs being folders."""
    monkeypatch.setattr(earlier_weights, "open_run", lambda run, uri: TrainedRun(tmp_path / run))

    def begin(data: LabelledData, **branch: object) -> str:
        model = {"branches": {"image": {"name": "tiny", "weights": "run:a", **branch}}}
        config = OmegaConf.create({"tracking": {"uri": ""}, "model": model})
        return str(with_weights_of_runs(config, data).model.branches.image.weights)

    return begin


def test_a_patient_called_na_is_recognised(begun, tmp_path: Path) -> None:
    left(tmp_path / "a", clinic(TRAIN, TRAIN, VALIDATION, TEST), weights=None)
    with pytest.raises(SplitError, match="1 of the 1 test samples"):
        begun(clinic(TEST, TRAIN, TRAIN, TRAIN))


def test_samples_that_trained_the_weights_cannot_choose_an_epoch(begun, tmp_path: Path) -> None:
    left(tmp_path / "a", clinic(TRAIN, TRAIN, VALIDATION, TEST), weights=None)
    with pytest.raises(SplitError, match="1 of the 1 validation samples"):
        begun(clinic(TRAIN, VALIDATION, TRAIN, TEST))
    assert begun(clinic(TRAIN, TRAIN, VALIDATION, TEST)).endswith("best.ckpt#network.branches.image")


def test_weights_have_seen_what_the_weights_they_began_with_had_seen(begun, tmp_path: Path) -> None:
    left(tmp_path / "b", clinic(TRAIN, VALIDATION, TRAIN, TEST), weights=None)
    left(tmp_path / "a", clinic("", TRAIN, VALIDATION, TEST), weights="run:b/image")
    with pytest.raises(SplitError, match="1 of the 1 test samples"):
        begun(clinic(TEST, TRAIN, VALIDATION, TRAIN))


def test_a_run_without_a_network_has_no_weights_to_give(begun, tmp_path: Path) -> None:
    data = clinic(TRAIN, TRAIN, VALIDATION, TEST)
    left(tmp_path / "a", data)
    with pytest.raises(ConfigError, match="has no network"):
        begun(data)


def test_of_a_network_over_frames_the_network_is_taken_unless_it_is_half_of_one(
    begun, tmp_path: Path
) -> None:
    data = clinic(TRAIN, TRAIN, VALIDATION, TEST)
    left(tmp_path / "a", data, frames={"name": "lstm"})
    assert begun(data).endswith("best.ckpt#network.branches.image.backbone")
    left(tmp_path / "inflated", data, frames={"name": "inflated"})
    with pytest.raises(WeightsError, match="sees time in its convolutions"):
        begun(data, weights="run:inflated")
