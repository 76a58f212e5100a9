"""Maps of many samples: equal for every batch size, averaged over networks, and checked before they begin."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from small_classifier import settings
from small_clinic import clinic, datamodule
from torch import Tensor

from fibrolab import allowed, keys
from fibrolab.data.labelled_data import LabelledData
from fibrolab.errors import ConfigError
from fibrolab.explanation import maps
from fibrolab.explanation.attribution import METHODS
from fibrolab.explanation.contributions import mean_features
from fibrolab.explanation.map_batches import Request, check, explained
from fibrolab.explanation.target_scores import Task
from fibrolab.modules.base import Classifier

CLASSES = ["mild", "severe"]
BRANCHES = {
    "grey": {"name": "test_resnet"},
    "stiffness": {"name": "test_resnet", "input": keys.ELASTOGRAM},
}
REQUEST = Request(("gradcam", "layercam"), ("grey", "stiffness"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> LabelledData:
    """Twelve samples, some of which lack the elastogram."""
    return clinic(tmp_path_factory.mktemp("clinic"), elastograms=[0, 1, 9, 10])


@pytest.fixture(scope="module")
def networks() -> list[Classifier]:
    torch.manual_seed(0)
    two = {"classes": CLASSES, "class_counts": [6, 6]}
    return [Classifier(**settings(branches=BRANCHES, **two)).eval() for _ in range(2)]


def batches(data: LabelledData, size: int, device: str = "cpu") -> list[dict[str, Tensor]]:
    module = datamodule(data, keys.IMAGE, keys.ELASTOGRAM, batch_size=size)
    module.prepare_data()
    return [{name: value.to(device) for name, value in batch.items()} for batch in module.test_dataloader()]


def written(
    folder: Path, networks: list[Classifier], data: LabelledData, size: int
) -> tuple[maps.Maps, pd.DataFrame, pd.DataFrame]:
    tasks = [Task(network.criterion, CLASSES) for network in networks]
    device = str(next(networks[0].parameters()).device)
    means = [mean_features(network, batches(data, 3, device)) for network in networks]
    with maps.MapWriter(folder, 3) as writer:
        parts = list(explained(networks, tasks, batches(data, size, device), REQUEST, writer, means))
        rows, shares = (pd.concat(each, ignore_index=True) for each in zip(*parts, strict=True))
        names = {name: "" for name in maps.COLUMNS if name not in rows}
        writer.finish(rows.assign(**names))
    return maps.read(folder), rows, shares


def test_the_size_of_batches_changes_nothing(
    tmp_path: Path, networks: list[Classifier], data: LabelledData
) -> None:
    one, rows, shares = written(tmp_path / "one", networks, data, 1)
    all_at_once, others, other_shares = written(tmp_path / "all", networks, data, 3)
    pd.testing.assert_frame_equal(rows, others, rtol=1e-4, atol=1e-6)
    pd.testing.assert_frame_equal(shares, other_shares, rtol=1e-4, atol=1e-6)
    assert set(one.arrays) == {(m, b) for m in REQUEST.methods for b in REQUEST.branches}
    for name, array in one.arrays.items():
        np.testing.assert_allclose(array, all_at_once.arrays[name], atol=1e-3)  # of float16, at most 1
    assert rows[keys.INDEX].tolist() == [9, 10, 11]
    lacking = np.isnan(one.arrays["gradcam", "stiffness"]).all(axis=(1, 2))
    assert lacking.tolist() == [False, False, True]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.gpu
def test_the_device_changes_nothing(tmp_path: Path, networks: list[Classifier], data: LabelledData) -> None:
    before, rows, shares = written(tmp_path / "cpu", networks, data, 3)
    on_gpu = [deepcopy(network).cuda() for network in networks]
    after, others, other_shares = written(tmp_path / "gpu", on_gpu, data, 3)
    pd.testing.assert_frame_equal(rows, others, rtol=1e-3, atol=1e-4)
    pd.testing.assert_frame_equal(shares, other_shares, rtol=1e-3, atol=1e-4)
    for name, array in before.arrays.items():
        np.testing.assert_allclose(array, after.arrays[name], atol=1e-2)


def test_several_networks_are_averaged(
    tmp_path: Path, networks: list[Classifier], data: LabelledData
) -> None:
    both, rows, _ = written(tmp_path / "both", networks, data, 3)
    probability = np.mean(
        [
            network.criterion.probabilities(network(batches(data, 3)[0])).detach().numpy()
            for network in networks
        ],
        axis=0,
    )
    np.testing.assert_allclose(rows[keys.probability_columns(2)], probability, atol=1e-6)
    twice, _, _ = written(tmp_path / "twice", [networks[0]] * 2, data, 3)
    once, _, _ = written(tmp_path / "once", networks[:1], data, 3)
    for name, array in once.arrays.items():
        np.testing.assert_array_equal(array, twice.arrays[name])
    assert any((array != both.arrays[name]).any() for name, array in once.arrays.items())


def test_all_faults_of_a_request_are_named_at_once(networks: list[Classifier]) -> None:
    request = Request(("gradcam", "attention_rollout"), ("grey", "film"), "layer9", "F3")
    with pytest.raises(ConfigError) as refused:
        check(request, networks[0], Task(networks[0].criterion, CLASSES))
    for part in ("there is no 'F3'", "layer9 is not a layer", "there is no 'film'", "a vision transformer"):
        assert part in str(refused.value)
    check(REQUEST, networks[0], Task(networks[0].criterion, CLASSES))
    unused = Request(("integrated_gradients",), ("grey",), "layer3")
    with pytest.raises(ConfigError, match=r"explain.layer=layer3 is of class activation maps, and none is"):
        check(unused, networks[0], Task(networks[0].criterion, CLASSES))


def test_settings_allow_exactly_the_methods_that_there_are() -> None:
    assert set(allowed.EXPLANATIONS) == set(METHODS)
    for value, holds in ((["gradcam", "occlusion"], True), ("layercam", True), ([], False), ("cam", False)):
        assert allowed.ALLOWED["explain.method"].holds(value) is holds
