"""Branches: the interface of all kinds, and contradicting settings."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fibrolab.errors import ConfigError, WeightsError
from fibrolab.models.branches import build_branch

TINY = {"name": "test_resnet"}
LSM = {"columns": ["lsm_kpa"], "mean": [2.0], "sd": [0.7]}
IMAGE = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
CLIP = torch.randint(0, 256, (2, 1, 4, 32, 32), dtype=torch.uint8)
KINDS: dict[str, tuple[dict, Tensor]] = {
    "image": (TINY, IMAGE),
    "colours": ({**TINY, "input": "elastogram"}, IMAGE.expand(-1, 3, -1, -1)),
    "frozen": ({**TINY, "freeze": "all"}, IMAGE),
    "frames": ({**TINY, "input": "clip", "frames": {"name": "average"}}, CLIP),
    "clip": ({"name": "r3d_18", "input": "clip"}, CLIP),
    "values": ({"input": "clinical", "columns": ["lsm_kpa"], "hidden": [8]}, torch.tensor([[1.0], [2.0]])),
}


def build(settings: object, clinical: dict | None = LSM) -> nn.Module:
    return build_branch("here", settings, 32, clinical)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_branch_has_the_interface(kind: str) -> None:
    settings, entry = KINDS[kind]
    model = build(settings).eval()
    with torch.no_grad():
        assert model(entry).shape == (2, model.num_features)
    depths = model.depths()
    assert set(depths) == {name for name, _ in model.named_parameters()}
    assert min(depths.values()) == 0
    assert model.frozen == (kind == "frozen")
    model.at_epoch(3)


def test_settings_are_left_as_they_were_given() -> None:
    settings = {**TINY, "input": "clip", "frames": {"name": "average"}}
    build(settings)
    assert settings == {**TINY, "input": "clip", "frames": {"name": "average"}}


@pytest.mark.parametrize("frames", [None, {}])
def test_frames_may_be_null_or_empty(frames: object) -> None:
    assert build({**TINY, "frames": frames}).num_features


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "no backbone is named"),
        ({**TINY, "poling": "avg"}, "there is no 'poling'.* Did you mean pooling"),
        ({**TINY, "columns": ["sex"]}, "there is no 'columns'"),
        ({**TINY, "input": "elastogramm"}, "Did you mean elastogram"),
        ({**TINY, "input": "clip"}, "test_resnet is an image network and does not take clips"),
        ({**TINY, "frames": {"name": "lstm"}}, "'image' is a single image"),
        ({**TINY, "input": "clip", "frames": {"name": "lsmt"}}, "Did you mean lstm"),
        ({**TINY, "input": "clip", "frames": {"units": 8}}, "does not name how frames are combined"),
        ({"name": "r3d_18"}, "r3d_18 takes clips, and 'image' is a single image"),
        ({"name": "r3d_18", "input": "clip", "frames": {"name": "lstm"}}, "r3d_18 already takes whole clips"),
        ({"name": "resnet81"}, "Did you mean resnet"),
        ({"input": "clinical"}, "not a list of clinical columns"),
        ({"input": "clinical", "columns": ["lsm"]}, "Did you mean lsm_kpa"),
        ({"input": "clinical", "columns": ["sex"]}, "no training sample has sex"),
        ({"input": "clinical", "columns": ["lsm_kpa"], "name": "resnet18"}, "there is no 'name'"),
        (None, r"None is not a branch.* leave it out with ~model\.branches\.here"),
    ],
    ids=str,
)
def test_contradicting_settings_are_refused(settings: object, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as fault:
        build(settings)
    assert "model.branches.here" in str(fault.value)


def test_clinical_values_need_training_statistics() -> None:
    with pytest.raises(ConfigError, match="no training sample has lsm_kpa"):
        build({"input": "clinical", "columns": ["lsm_kpa"]}, clinical=None)


def test_all_faults_of_a_branch_are_listed_at_once() -> None:
    with pytest.raises(ConfigError) as fault:
        build({"input": "picture", "frezee": "all"})
    for sentence in ("there is no 'picture'", "Did you mean freeze", "no backbone is named"):
        assert sentence in str(fault.value)


def test_weights_that_cannot_be_loaded_name_their_branch(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model\.branches\.here: .*nowhere"):
        build({**TINY, "weights": str(tmp_path / "nowhere.safetensors")})


@pytest.mark.parametrize(
    ("model", "inputs", "sentence"),
    [
        ("single", ["image", "image"], "single has one backbone"),
        ("hybrid", ["image"], "two or more backbones"),
        ("multimodal", ["image", "image"], "two or more different inputs, but model.branches take image;"),
        ("multimodal", [], "take nothing"),
    ],
)
def test_each_model_refuses_unsuitable_branches(model: str, inputs: list[str], sentence: str) -> None:
    from fibrolab.modules.classifiers import HybridClassifier, MultimodalClassifier, SingleClassifier

    made = {"single": SingleClassifier, "hybrid": HybridClassifier, "multimodal": MultimodalClassifier}[model]
    made.check_branches({"a": TINY} if model == "single" else {"a": TINY, "b": {"input": "elastogram"}})
    with pytest.raises(ConfigError, match=sentence):
        made.check_branches({str(n): {**TINY, "input": name} for n, name in enumerate(inputs)})
