"""Weights that an earlier run left: found, checked, and refused where they have seen the test samples."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from compose import composed, run_folder
from own_data import PHANTOMS

from fibrolab import keys
from fibrolab.errors import ConfigError, SplitError, WeightsError
from fibrolab.fitting import build_module
from fibrolab.loading import load
from fibrolab.pipeline import run
from fibrolab.starting import with_weights_of_runs

SMALL = [
    "preprocess.size=32",
    "trainer.max_epochs=1",
    "num_workers=0",
    "bootstrap.resamples=20",
    *PHANTOMS["phantom"],
]


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path) -> tuple[Path, str]:
    """Root and id of a run with one branch."""
    import shutil

    root = tmp_path_factory.mktemp("earlier")
    (root / "mlruns").mkdir()
    shutil.copy(fresh_database, root / "mlruns")
    run(composed(f"paths.root={root}", *SMALL))
    return root, run_folder(root).parent.name


def starting(earlier: tuple[Path, str], *overrides: str):
    root, _ = earlier
    config = composed(f"paths.root={root}", *SMALL, *overrides)
    data = load(config)
    return config, data


def test_a_branch_begins_where_the_earlier_run_ended(earlier: tuple[Path, str]) -> None:
    root, number = earlier
    config, data = starting(earlier, f"model.branches.image.weights=run:{number}")
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
    config, data = starting(earlier, *overrides, *weights)
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
        (["model.branches.image.weights=run:{id}", "seed=1"], SplitError, "test samples"),
    ],
)
def test_weights_that_cannot_be_taken_are_refused(
    earlier: tuple[Path, str], overrides: list[str], error: type[Exception], words: str
) -> None:
    config, data = starting(earlier, *(word.format(id=earlier[1]) for word in overrides))
    with pytest.raises(error, match=words):
        with_weights_of_runs(config, data)


def test_a_leak_is_judged_by_patients_not_by_samples_alone(earlier: tuple[Path, str]) -> None:
    config, data = starting(earlier, f"model.branches.image.weights=run:{earlier[1]}", "seed=1")
    renamed = data.manifest.table.assign(sample_id=[f"other{row}" for row in range(len(data.manifest))])
    object.__setattr__(data.manifest, "table", renamed)
    with pytest.raises(SplitError, match="others of their patients"):
        with_weights_of_runs(config, data)


def test_a_run_of_another_data_set_says_nothing_about_ours(earlier: tuple[Path, str]) -> None:
    config, data = starting(earlier, f"model.branches.image.weights=run:{earlier[1]}", "seed=1")
    object.__setattr__(data.manifest, "name", "elsewhere")
    resolved = with_weights_of_runs(config, data)
    assert resolved.model.branches.image.weights.endswith("best.ckpt#network.branches.image")


def test_the_split_of_the_earlier_run_can_be_asked_for(earlier: tuple[Path, str]) -> None:
    root, number = earlier
    split = run_folder(root) / keys.SPLIT_FILE
    assert set(pd.read_csv(split)[keys.PARTITION]) == {keys.TRAIN, keys.VALIDATION, keys.TEST}
    saved = ["split=saved", f"split.path={split}", "seed=1", f"model.branches.image.weights=run:{number}"]
    config, data = starting(earlier, *saved)
    assert with_weights_of_runs(config, data).model.branches.image.weights != f"run:{number}"
