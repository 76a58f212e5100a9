"""Weights: files that fit, and files that do not."""

import os
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from fibrolab.errors import WeightsError
from fibrolab.models.backbones import Backbone
from fibrolab.models.weights import load_weights

TINY = "test_resnet"
REAL = Path(__file__).parents[3] / "shared" / "weights" / "tf_efficientnet_lite0.imagenet.fp16.safetensors"


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def assert_same(a: nn.Module, b: nn.Module) -> None:
    for key, value in a.state_dict().items():
        torch.testing.assert_close(b.state_dict()[key], value, rtol=0, atol=0)


@pytest.mark.parametrize("container", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors", "w"])
def test_torch_checkpoints_load_under_any_file_name(tmp_path, container, name):
    source, target = network(), network()
    state = source.state_dict()
    torch.save({container: state, "epoch": 3} if container else state, tmp_path / name)
    report = load_weights(target, tmp_path / name)
    assert_same(source, target)
    assert len(report.matched) == len(state)
    assert report.missing == report.unexpected == report.mismatched == ()


def test_safetensors_load_by_content_and_take_the_dtype_of_the_network(tmp_path):
    source, target = network().half(), network()
    save_file(source.state_dict(), tmp_path / "w.bin")
    load_weights(target, tmp_path / "w.bin")
    assert_same(source.float(), target)
    assert target[0].weight.dtype == torch.float32


@settings(max_examples=25)
@given(prefix=st.lists(st.sampled_from(["module", "_orig_mod", "backbone", "0", "weight"]), max_size=4))
def test_any_common_prefix_is_found(tmp_path_factory, prefix):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    source, target = network(), network()
    lead = "".join(f"{part}." for part in prefix)
    save_file({lead + key: value for key, value in source.state_dict().items()}, path)
    assert load_weights(target, path).prefix == lead
    assert_same(source, target)


def test_a_branch_is_taken_out_of_a_larger_checkpoint(tmp_path):
    source, target = network(), network()
    whole = nn.ModuleDict({"a": source, "b": nn.Conv2d(1, 1, 3), "head": nn.Linear(7, 5)})
    torch.save({"state_dict": whole.state_dict()}, tmp_path / "w.ckpt")
    report = load_weights(target, tmp_path / "w.ckpt")
    assert_same(source, target)
    assert set(report.unexpected) == {"b.weight", "b.bias", "head.weight", "head.bias"}


def test_a_checkpoint_that_holds_the_network_twice_is_ambiguous(tmp_path):
    torch.save(nn.ModuleDict({"a": network(), "b": network()}).state_dict(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"under 'a\.' and under 'b\.'"):
        load_weights(network(), tmp_path / "w.pt")


@pytest.mark.parametrize("mark", ["#b", "#b.", "#nets.b"])
def test_a_prefix_after_the_path_selects_one_of_two_networks(tmp_path, mark):
    a, b, target = network(), network(), network()
    whole = nn.ModuleDict({"a": a, "b": b})
    torch.save((nn.ModuleDict({"nets": whole}) if "nets" in mark else whole).state_dict(), tmp_path / "w.pt")
    report = load_weights(target, f"{tmp_path / 'w.pt'}{mark}")
    assert_same(b, target)
    assert report.prefix == f"{mark[1:].rstrip('.')}."
    assert report.unexpected == ()


def test_an_unknown_prefix_is_refused_with_the_nearest_one(tmp_path):
    torch.save(nn.ModuleDict({"image": network(), "clip": network()}).state_dict(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"prefix after #: there is no 'images'.*Did you mean image"):
        load_weights(network(), f"{tmp_path / 'w.pt'}#images")


def test_a_hash_in_the_name_of_a_file_is_no_prefix(tmp_path):
    source, target = network(), network()
    torch.save(source.state_dict(), tmp_path / "run#7.pt")
    load_weights(target, tmp_path / "run#7.pt")
    assert_same(source, target)


@pytest.mark.parametrize("wrapper", ["", "module.", "model.backbone."])
def test_adapters_get_the_keys_without_a_shared_prefix(tmp_path, wrapper):
    source, target = network(), network()
    old = {key.replace("2.", "last.", 1): value for key, value in source.state_dict().items()}
    torch.save({wrapper + key: value for key, value in old.items()}, tmp_path / "w.pt")
    report = load_weights(
        target,
        tmp_path / "w.pt",
        adapt=lambda state: {
            f"2.{key[5:]}" if key.startswith("last.") else key: value for key, value in state.items()
        },
    )
    assert_same(source, target)
    assert report.prefix == wrapper


def test_a_file_with_one_strange_tensor_is_refused_by_a_backbone(tmp_path):
    torch.save({"alien": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"fills 0 of.*the file has alien"):
        Backbone(TINY, weights=str(tmp_path / "w.pt"), image_size=32)


def test_the_report_lists_matched_and_unmatched_tensors(tmp_path):
    state = network().state_dict()
    del (
        state["2.bias"],
        state["1.num_batches_tracked"],
    )  # the counter is not reported as missing
    torch.save(state | {"classifier.weight": torch.zeros(9, 2)}, tmp_path / "w.pt")
    report = load_weights(network(), tmp_path / "w.pt")
    assert report.missing == ("2.bias",)
    assert str(report).splitlines() == [
        f"w.pt: {len(state)} of {len(state) + 1} tensors of the network matched",
        "  left at their initial values: 2.bias",
        "  not used from the file: classifier.weight",
    ]


def test_a_file_with_less_than_half_of_the_network_is_refused_with_keys_of_both(tmp_path):
    torch.save({"0.weight": torch.zeros(4, 3), "other.weight": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"fills 1 of the network's 8.*0\.bias.*other\.weight"):
        load_weights(network(), tmp_path / "w.pt")
    torch.save({"alien": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="fills 0 of"):
        load_weights(network(), tmp_path / "w.pt")


def test_shapes_of_another_architecture_are_named_and_nothing_is_loaded(tmp_path):
    state = network().state_dict() | {"0.weight": torch.zeros(5, 3)}
    torch.save(state, tmp_path / "w.pt")
    target = network()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(WeightsError, match=r"0\.weight is 5x3 in the file and 4x3 in the network"):
        load_weights(target, tmp_path / "w.pt")
    for key, value in target.state_dict().items():
        assert torch.equal(value, before[key])


class Payload:
    """Make a folder when unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return (os.mkdir, (self.folder,))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, zipped):
    content = {"state_dict": network().state_dict(), "x": Payload(tmp_path / "ran")}
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="pickled objects beside tensors"):
        load_weights(network(), tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "w.pt", weights_only=False)
    assert (tmp_path / "ran").exists()  # the payload works: only the loader kept it from running


@pytest.mark.parametrize(
    "name", ["test_vit", "test_convnext", "test_efficientnet", "test_byobnet", "test_nfnet"]
)
def test_weights_of_another_backbone_are_refused(tmp_path, name):
    save_file(timm.create_model(TINY).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="weights of the configured backbone"):
        Backbone(name, weights=str(tmp_path / "w.safetensors"), image_size=32)


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
@pytest.mark.parametrize("kept", [0, 5, 12, 200, -10])
def test_files_cut_short_are_refused(tmp_path, kind, kept):
    path = tmp_path / "w"
    state = network().state_dict()
    save_file(state, path) if kind == "safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="cut short"):
        load_weights(network(), path)


def test_files_that_are_no_weights_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="no file"):
        load_weights(network(), tmp_path / "absent.pt")
    with pytest.raises(WeightsError, match="no file"):
        load_weights(network(), tmp_path)
    (tmp_path / "notes.pt").write_text("not weights at all, but a sentence")
    with pytest.raises(WeightsError, match="Copy it again"):
        load_weights(network(), tmp_path / "notes.pt")
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="no named tensors"):
        load_weights(network(), tmp_path / "w.pt")
    torch.save(torch.zeros(3), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="no named tensors"):
        load_weights(network(), tmp_path / "w.pt")


def test_a_backbone_loads_a_file_without_its_classifier(tmp_path):
    source = timm.create_model(TINY, num_classes=7)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    backbone = Backbone(TINY, weights=str(tmp_path / "w.safetensors"), freeze="all", image_size=32)
    assert set(backbone.weights_report.unexpected) == {"fc.weight", "fc.bias"}
    assert not backbone.weights_report.missing
    torch.testing.assert_close(backbone.network.conv1[0].weight, source.conv1[0].weight, rtol=0, atol=0)


@pytest.mark.shared
@pytest.mark.skipif(not REAL.is_file(), reason=f"needs {REAL.name} beside the project")
def test_the_published_weights_of_efficientnet_lite0_fill_all_of_it():
    backbone = Backbone("tf_efficientnet_lite0", weights=str(REAL), image_size=64)
    assert not backbone.weights_report.missing
    assert len(backbone.weights_report.matched) > 200
    assert set(backbone.weights_report.unexpected) <= {"classifier.weight", "classifier.bias"}
