"""Initial weights: published ones if they can be had, those of a file or an earlier run, or random ones."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from compose import composed, names, prepared, run_folder
from drawn import unreported
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
from fibrolab.storage import save_json
from fibrolab.training import initial_weights, settings
from fibrolab.training.building import build_module
from fibrolab.training.initial_weights import decide_pretrained, with_weights_of_runs

SMALL = [
    "preprocess.size=32",
    "trainer.max_epochs=1",
    "num_workers=0",
    "bootstrap.resamples=20",
    *PHANTOMS["phantom"],
]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub that has weights of every network; the names that were asked for."""
    asked: list[str] = []
    monkeypatch.setattr(initial_weights, "published_weights", asked.append)
    return asked


def decided(*overrides: str) -> dict[str, bool]:
    config = composed(*overrides)
    decide_pretrained(config)
    return {str(name): branch.get("pretrained") for name, branch in config.model.branches.items()}


HYBRID = ("model=hybrid", "data=kaggle_fibrosis", "data.root=nowhere")


def test_large_backbones_start_from_published_weights(hub: list[str]) -> None:
    assert decided(*HYBRID) == {"a": True, "b": True}
    assert hub == ["resnet50", "vgg16"]


def test_the_smallest_backbone_starts_from_random_weights(hub: list[str]) -> None:
    assert decided() == {"image": False}
    assert hub == []


def test_random_weights_are_one_setting_for_all_branches(hub: list[str]) -> None:
    assert decided(*HYBRID, "pretrained=false") == {"a": False, "b": False}
    assert hub == []


def test_a_file_comes_before_published_weights(hub: list[str], tmp_path: Path) -> None:
    (tmp_path / "net.ckpt").touch()
    given = f"model.branches.a.weights='{tmp_path}/net.ckpt#network'"
    assert decided(*HYBRID, given, "model.branches.b.weights=run:7") == {"a": False, "b": False}
    assert hub == []


def test_a_network_without_published_weights_starts_from_random_ones(hub: list[str]) -> None:
    own = "+model.branches.image._target_=own.Net"
    for words in (["model.branches.image.name=cspresnet50d"], ["model.branches.image.name=own", own]):
        assert decided("model.branches.image.pretrained=auto", *words) == {"image": False}
    assert hub == []


def test_a_clinical_branch_has_no_such_weights(hub: list[str]) -> None:
    assert decided("+clinical@model.branches.clinical=serum") == {"image": False, "clinical": None}


def test_every_other_backbone_has_published_weights(hub: list[str]) -> None:
    for name in names("backbone"):
        if name != "tiny":
            assert decided(f"backbone@model.branches.image={name}") == {"image": True}


@pytest.mark.parametrize("published", ["resnet50", "r3d_18"])
def test_without_a_network_weights_are_refused_with_all_ways(
    published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("fibrolab.models.hub.call_within", unreachable)
    with pytest.raises(WeightsError) as refused:
        decided(f"backbone@model.branches.image={published}")
    for way in ("model.branches.image: ", "weights=FILE", "weights=run:ID", "pretrained=false"):
        assert way in str(refused.value)


def unreachable(*_: object) -> None:
    raise OSError("no network")


def test_weights_are_looked_for_before_any_data(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fibrolab.pipeline.load", lambda config: pytest.fail("data was read"))
    with pytest.raises(WeightsError, match="is not a file"):
        run(composed(f"paths.root={root}", "model.branches.image.weights=nowhere.ckpt"))


def test_one_setting_cannot_hide_another(hub: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"but model\.branches\.image\.pretrained=false"):
        decided("pretrained=true")
    (tmp_path / "net.ckpt").touch()
    with pytest.raises(ConfigError, match=r"pretrained=true contradicts model.branches.a.weights"):
        decided(*HYBRID, "pretrained=true", f"model.branches.a.weights={tmp_path}/net.ckpt")
    assert decided(*HYBRID, "pretrained=true") == {"a": True, "b": True}


def test_gradual_freezing_trains_random_weights_in_the_end(hub: list[str]) -> None:
    assert decided("model.branches.image.freeze=gradual") == {"image": False}


@pytest.mark.parametrize("part", ["all", "layer3"])
def test_random_weights_are_not_frozen(part: str, hub: list[str]) -> None:
    frozen = f"model.branches.image.freeze={part}"
    with pytest.raises(ConfigError, match="would keep random weights"):
        decided(frozen)
    assert decided(frozen, "debug=fast_dev_run") == {"image": False}
    assert decided(frozen, "backbone@model.branches.image=resnet18") == {"image": True}


def test_other_words_than_auto_true_or_false_are_refused() -> None:
    with pytest.raises(ConfigError, match="pretrained=imagenet is not auto, true or false"):
        settings.check(composed(*HYBRID, "pretrained=imagenet"))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path, cache: Path) -> tuple[Path, str]:
    """Root and id of a run with one branch."""
    root = prepared(tmp_path_factory.mktemp("earlier"), fresh_database, cache)
    with unreported():
        run(composed(f"paths.root={root}", *SMALL))
    return root, run_folder(root).parent.name


def loaded(earlier: tuple[Path, str], *overrides: str):
    root, _ = earlier
    config = composed(f"paths.root={root}", *SMALL, *overrides)
    data = load(config)
    return config, data


def test_a_branch_starts_from_the_weights_of_the_earlier_run(earlier: tuple[Path, str]) -> None:
    root, number = earlier
    config, data = loaded(earlier, f"model.branches.image.weights=run:{number}")
    module = build_module(with_weights_of_runs(config, data), data)
    kept = torch.load(run_folder(root) / keys.CHECKPOINTS / "best.ckpt", weights_only=True)["state_dict"]
    ours = module.network.branches.state_dict()
    assert ours
    assert all(torch.equal(value, kept[f"network.branches.{name}"]) for name, value in ours.items())
    assert config.model.branches.image.weights == f"run:{number}"


def test_every_branch_of_a_fusion_may_start_from_a_run(earlier: tuple[Path, str]) -> None:
    number = earlier[1]
    overrides = ["model=hybrid", "backbone@model.branches.a=tiny", "backbone@model.branches.b=tiny"]
    weights = [f"model.branches.a.weights=run:{number}/image", f"model.branches.b.weights=run:{number}"]
    config, data = loaded(earlier, *overrides, *weights)
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
def test_unsuitable_weights_are_refused(
    earlier: tuple[Path, str], overrides: list[str], error: type[Exception], words: str
) -> None:
    config, data = loaded(earlier, *(word.format(id=earlier[1]) for word in overrides))
    with pytest.raises(error, match=words):
        with_weights_of_runs(config, data)


def test_leaks_are_found_by_patient_and_not_only_by_sample(earlier: tuple[Path, str]) -> None:
    config, data = loaded(earlier, f"model.branches.image.weights=run:{earlier[1]}", "seed=1")
    renamed = data.manifest.table.assign(sample_id=[f"other{row}" for row in range(len(data.manifest))])
    object.__setattr__(data.manifest, "table", renamed)
    with pytest.raises(SplitError, match="others of their patients"):
        with_weights_of_runs(config, data)


def test_equal_patient_names_of_another_data_set_are_not_a_leak(earlier: tuple[Path, str]) -> None:
    config, data = loaded(earlier, f"model.branches.image.weights=run:{earlier[1]}", "seed=1")
    object.__setattr__(data.manifest, "name", "elsewhere")
    object.__setattr__(data.manifest, "table", data.manifest.table.assign(visit_id="first"))
    random = np.random.default_rng(0)
    hashes = [random.bytes(len(data.facts[keys.IMAGE]["phash"][0]) // 2).hex() for _ in data.labels]
    data.facts[keys.IMAGE][["sha256", "phash"]] = np.array([hashes, hashes]).T
    resolved = with_weights_of_runs(config, data)  # although the patients have the same names
    assert resolved.model.branches.image.weights.endswith("best.ckpt#network.branches.image")


@pytest.mark.parametrize("blank", ["sha256", "phash"])
def test_the_same_images_under_another_name_are_recognised(earlier: tuple[Path, str], blank: str) -> None:
    config, data = loaded(earlier, f"model.branches.image.weights=run:{earlier[1]}", "seed=1")
    renamed = {name: [f"x{row}" for row in range(len(data.manifest))] for name in ("sample_id", "group_id")}
    object.__setattr__(data.manifest, "table", data.manifest.table.assign(**renamed))
    object.__setattr__(data.manifest, "name", "elsewhere")
    data.facts[keys.IMAGE][blank] = ""
    with pytest.raises(SplitError, match="test samples, copies of them"):
        with_weights_of_runs(config, data)


def test_the_split_of_the_earlier_run_can_be_reused(earlier: tuple[Path, str]) -> None:
    root, number = earlier
    split = run_folder(root) / keys.SPLIT_FILE
    assert set(pd.read_csv(split)[keys.PARTITION]) == {keys.TRAIN, keys.VALIDATION, keys.TEST}
    saved = ["split=saved", f"split.path={split}", "seed=1", f"model.branches.image.weights=run:{number}"]
    config, data = loaded(earlier, *saved)
    assert with_weights_of_runs(config, data).model.branches.image.weights != f"run:{number}"


TRAIN, VALIDATION, TEST = keys.PARTITIONS
PATIENTS = ("NA", "Ng", "Nu", "Null")  # names that pandas reads as missing values by default


def clinic(*partitions: str) -> LabelledData:
    """Return one sample per patient with the given partitions."""
    samples = {keys.SAMPLE_ID: list(PATIENTS), keys.PATIENT_ID: list(PATIENTS), keys.LABEL: [0, 1, 0, 1]}
    manifest = Manifest(
        pd.DataFrame(samples).assign(image="a.png"), ("mild", "severe"), "clinic", Path("nowhere")
    )
    return LabelledData(manifest, {}, manifest.labels, ["mild", "severe"], Split(np.array(partitions), 0, 0))


def write_run(folder: Path, data: LabelledData, **branch: object) -> None:
    """Write the files of a finished run that the code reads."""
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
def weights_from_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that resolves `weights: run:a`, where runs are folders."""
    monkeypatch.setattr(initial_weights, "open_run", lambda run, uri: TrainedRun(tmp_path / run))

    def resolve(data: LabelledData, **branch: object) -> str:
        model = {"branches": {"image": {"name": "tiny", "weights": "run:a", **branch}}}
        config = OmegaConf.create({"tracking": {"uri": ""}, "model": model})
        return str(with_weights_of_runs(config, data).model.branches.image.weights)

    return resolve


def test_a_patient_called_na_is_recognised(weights_from_run, tmp_path: Path) -> None:
    write_run(tmp_path / "a", clinic(TRAIN, TRAIN, VALIDATION, TEST), weights=None)
    with pytest.raises(SplitError, match="1 of the 1 test samples"):
        weights_from_run(clinic(TEST, TRAIN, TRAIN, TRAIN))


def test_weights_trained_on_validation_samples_are_refused(weights_from_run, tmp_path: Path) -> None:
    write_run(tmp_path / "a", clinic(TRAIN, TRAIN, VALIDATION, TEST), weights=None)
    with pytest.raises(SplitError, match="1 of the 1 validation samples"):
        weights_from_run(clinic(TRAIN, VALIDATION, TRAIN, TEST))
    assert weights_from_run(clinic(TRAIN, TRAIN, VALIDATION, TEST)).endswith(
        "best.ckpt#network.branches.image"
    )


def test_the_training_samples_of_ancestor_runs_count_too(weights_from_run, tmp_path: Path) -> None:
    write_run(tmp_path / "b", clinic(TRAIN, VALIDATION, TRAIN, TEST), weights=None)
    write_run(tmp_path / "a", clinic("", TRAIN, VALIDATION, TEST), weights="run:b/image")
    with pytest.raises(SplitError, match="1 of the 1 test samples"):
        weights_from_run(clinic(TEST, TRAIN, VALIDATION, TRAIN))


def test_the_same_patients_are_recognised_under_another_name_of_their_table(
    weights_from_run, tmp_path: Path
) -> None:
    write_run(tmp_path / "a", clinic(TRAIN, TRAIN, VALIDATION, TEST), weights=None)
    config = OmegaConf.load(tmp_path / "a" / keys.CONFIG_FILE)
    config.data.name = "table"  # as `data=table` calls every table
    OmegaConf.save(config, tmp_path / "a" / keys.CONFIG_FILE)
    with pytest.raises(SplitError, match="1 of the 1 test samples"):
        weights_from_run(clinic(TEST, TRAIN, TRAIN, TRAIN))


def test_the_name_of_a_table_is_that_of_its_audit(weights_from_run, tmp_path: Path) -> None:
    before, now = clinic(TRAIN, TRAIN, VALIDATION, TEST), clinic(TEST, TRAIN, TRAIN, TRAIN)
    write_run(tmp_path / "a", before, weights=None)
    object.__setattr__(now.manifest, "table", now.manifest.table.assign(label=[1, 1, 0, 0]))  # corrected
    now.facts[keys.IMAGE] = pd.DataFrame({"sha256": [""] * 4, "phash": [""] * 4})  # type: ignore[index]
    table = pd.read_csv(tmp_path / "a" / keys.MANIFEST_FILE, keep_default_na=False)
    table.assign(sha256="", phash="").to_csv(tmp_path / "a" / keys.MANIFEST_FILE, index=False)
    config = OmegaConf.load(tmp_path / "a" / keys.CONFIG_FILE)
    config.data.name = "table"
    OmegaConf.save(config, tmp_path / "a" / keys.CONFIG_FILE)
    assert weights_from_run(now)  # two hospitals' tables
    save_json({"verdict": "ok", "name": now.manifest.name}, tmp_path / "a" / keys.AUDIT_FILE)
    with pytest.raises(SplitError, match="1 of the 1 test samples"):
        weights_from_run(now)


def test_a_run_without_a_network_has_no_weights(weights_from_run, tmp_path: Path) -> None:
    data = clinic(TRAIN, TRAIN, VALIDATION, TEST)
    write_run(tmp_path / "a", data)
    with pytest.raises(ConfigError, match="has no network"):
        weights_from_run(data)


def test_the_image_network_of_a_model_over_frames_is_taken_unless_inflated(
    weights_from_run, tmp_path: Path
) -> None:
    data = clinic(TRAIN, TRAIN, VALIDATION, TEST)
    write_run(tmp_path / "a", data, frames={"name": "lstm"})
    assert weights_from_run(data).endswith("best.ckpt#network.branches.image.backbone")
    write_run(tmp_path / "inflated", data, frames={"name": "inflated"})
    with pytest.raises(WeightsError, match="has 3D convolutions"):
        weights_from_run(data, weights="run:inflated")
