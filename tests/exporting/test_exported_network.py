"""The exported network: for every family the answers of the run's own network, with missing inputs too."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from compose import composed
from small_classifier import CLASSES, settings
from torch import Tensor

from fibrolab import export, keys
from fibrolab.analyses.exporting import drafted
from fibrolab.analyses.registering import shortened
from fibrolab.data.clinical import measured
from fibrolab.errors import ConfigError, DataError
from fibrolab.exporting import graphs, parity, served_model
from fibrolab.exporting.exported_network import ExportedNetwork, on_scales
from fibrolab.modules.base import Classifier
from fibrolab.modules.classifiers import (
    HybridClassifier,
    MultimodalClassifier,
    SingleClassifier,
    VideoClassifier,
)
from fibrolab.runs.answering import Rules
from fibrolab.runs.checkpoint import Predictor

TINY = {"name": "test_resnet"}
COLUMNS = ["lsm_kpa", "age_years", "sex"]
CLINICAL = {"columns": COLUMNS, "mean": [2.0, 5.0, 0.5], "sd": [0.7, 1.0, 0.5]}
RULES = Rules(tuple(CLASSES), True, {"ge_F2": 2, "F4": 4}, {"ge_F2": 0.5}, 1.7, 0.1, 0.9)
FRAMES = 3


def film(**frames: Any) -> dict[str, Any]:
    return {"branches": {"clip": {**TINY, "input": "clip", "frames": frames}}}


FAMILIES: dict[str, tuple[type[Classifier], dict[str, Any]]] = {
    "single": (SingleClassifier, {"branches": {"image": TINY}}),
    "hybrid, CORN": (
        HybridClassifier,
        {"branches": {"a": TINY, "b": TINY}, "loss": {"name": "corn"}},
    ),
    "CORAL": (SingleClassifier, {"branches": {"image": TINY}, "loss": {"name": "coral"}}),
    "average": (VideoClassifier, film(name="average")),
    "LSTM": (VideoClassifier, film(name="lstm", units=4, bidirectional=True)),
    "inflated": (VideoClassifier, film(name="inflated")),
    "3D": (VideoClassifier, {"branches": {"clip": {"name": "r3d_18", "input": "clip"}}}),
    "multimodal": (
        MultimodalClassifier,
        {
            "branches": {
                "grey": TINY,
                "swe": {**TINY, "input": "elastogram"},
                "table": {"input": "clinical", "columns": COLUMNS},
            },
            "clinical": CLINICAL,
            "fusion": {"name": "gated", "width": 8},
        },
    ),
}


def networks(family: str, number: int = 1) -> list[Predictor]:
    kind, changes = FAMILIES[family]
    torch.manual_seed(0)
    record = {
        "preprocess": {"size": 32, "crop": "none"},
        "segment": {"length": FRAMES},
        "decode": {},
        "classes": CLASSES,
        "needed": [],
    }
    found = []
    for _ in range(number):
        module = kind(**settings(**changes))
        for parameter in module.parameters():
            if not parameter.any():  # side taps of inflated networks start at zero
                parameter.data += 0.05 * torch.randn_like(parameter)
        found.append(Predictor(Path("best.ckpt"), module.eval(), record))
    return found


def example(network: ExportedNetwork, samples: int) -> list[Tensor]:
    """Noise; the second sample lacks its elastogram and its age, the third its image."""
    rng, found = np.random.default_rng(0), []
    for entry in network.entries:
        value = entry.blank(samples)
        if entry.dtype == "uint8":
            value = torch.from_numpy(rng.integers(0, 256, value.shape).astype(np.uint8))
        elif entry.name == keys.CLINICAL:
            value = torch.tensor([[6.0, 50.0, 1.0], [12.0, math.nan, 0.0], [30.0, 70.0, math.nan]])[:samples]
        elif samples == 3:
            value[1 if entry.name == keys.present(keys.ELASTOGRAM) else 2] = False
        found.append(value)
    return found


def of_run(found: list[Predictor], network: ExportedNetwork, values: list[Tensor]) -> np.ndarray:
    """Mean probabilities of the run's own modules, along their own path."""
    batch = {entry.name: value for entry, value in zip(network.entries, values, strict=True)}
    if keys.CLINICAL in batch:
        table = pd.DataFrame(batch[keys.CLINICAL].numpy().astype(float), columns=COLUMNS)
        table["sex"] = table["sex"].map({0.0: "F", 1.0: "M"}).fillna("")
        batch[keys.CLINICAL] = torch.from_numpy(measured(table, COLUMNS))
    with torch.no_grad():
        chances = [each.module.criterion.probabilities(each.module(batch)) for each in found]
    return torch.stack(chances).mean(dim=0).double().numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_exported_network_answers_as_the_run(family: str) -> None:
    found = networks(family)
    network = ExportedNetwork(found, RULES)
    values = example(network, 3)
    expected = of_run(found, network, values)
    assert np.ptp(expected, axis=0).max() > 1e-4  # the samples are told apart
    chances, confidence, scores = graphs.torch_answer(network)(values)
    answers = RULES.answers(expected)
    np.testing.assert_allclose(chances, expected, atol=1e-6)
    np.testing.assert_allclose(confidence, answers["confidence"], atol=1e-6)
    np.testing.assert_allclose(scores, answers[["ge_F2", "F4"]], atol=1e-6)


def test_a_program_takes_any_number_of_samples_and_keeps_its_metadata(tmp_path: Path) -> None:
    found = networks("single", 2)
    network = ExportedNetwork(found, RULES)
    graph = graphs.ProgramGraph(network)
    graph.save(tmp_path / graph.file_name, {"use": "research use only"})
    answer = graph.load(tmp_path / graph.file_name)
    for samples in (1, 3):
        values = example(network, samples)
        np.testing.assert_allclose(answer(values)[0], of_run(found, network, values), atol=1e-5)
    extra = {graphs.EXTRA_FILE: ""}
    torch.export.load(tmp_path / graph.file_name, extra_files=extra)
    assert "research use only" in extra[graphs.EXTRA_FILE]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["hybrid, CORN", "LSTM", "inflated", "multimodal"])
def test_onnx_answers_as_the_run(family: str, tmp_path: Path) -> None:
    found = networks(family)
    needing = [replace(each, record={**each.record, "needed": ["image", "sex"]}) for each in found]
    network = ExportedNetwork(found, RULES)
    graph = graphs.OnnxGraph(network)
    graph.save(tmp_path / graph.file_name, {})
    answer = graph.load(tmp_path / graph.file_name)
    for samples in (1, 3):
        values = example(network, samples)
        np.testing.assert_allclose(answer(values)[0], of_run(found, network, values), atol=1e-5)
    if family == "multimodal":
        graph = graphs.OnnxGraph(ExportedNetwork(needing, RULES))
        graph.save(tmp_path / "needing.onnx", {})
        refused = np.isnan(graph.load(tmp_path / "needing.onnx")(values)[0]).all(axis=1)
        assert refused.tolist() == [False, False, True]  # the third lacks image and sex


def test_a_clinical_value_that_no_patient_has_gives_no_probabilities() -> None:
    network = ExportedNetwork(networks("multimodal"), RULES)
    values = example(network, 3)
    values[2][:, 0] = torch.tensor([0.0, 6.0, 6000.0])  # stiffness [kPa]; the last one looks given in Pa
    chances = graphs.torch_answer(network)(values)[0]
    assert np.isnan(chances[[0, 2]]).all()
    assert np.isfinite(chances[1]).all()


def test_a_sample_without_what_the_network_needs_has_no_probabilities() -> None:
    found = networks("multimodal")
    values = example(ExportedNetwork(found, RULES), 3)
    values[2][0, 2] = math.nan  # the first sample lacks its sex
    lacking = {"elastogram": {1}, "image": {2}, "age_years": {1}, "sex": {0, 2}, "lsm_kpa": set()}
    for needed in (["elastogram"], ["image"], ["age_years"], ["sex"], ["lsm_kpa"], ["image", "age_years"]):
        network = ExportedNetwork(
            [replace(each, record={**each.record, "needed": needed}) for each in found], RULES
        )
        chances = graphs.torch_answer(network)(values)[0]
        refused = set().union(*(lacking[name] for name in needed))
        assert set(np.flatnonzero(np.isnan(chances).any(axis=1))) == refused


def test_parity_is_measured_without_each_input_that_may_be_missing() -> None:
    network = ExportedNetwork(networks("multimodal"), RULES)
    values = example(network, 1)
    names = [entry.name for entry in network.entries]

    def changed(*needed: str) -> list[dict[str, Tensor]]:
        found = parity._without_each(network.entries, values, COLUMNS, needed)
        return [dict(zip(names, each, strict=True)) for each in found]

    image, elastogram, clinical = changed()
    assert not image["image_present"].any()
    assert not elastogram["elastogram_present"].any()
    assert clinical["clinical"].isnan().all()
    (part,) = changed("image", "elastogram", "sex")
    assert part["clinical"].isnan().tolist() == [[True, True, False]]
    assert [each["image_present"].item() for each in changed("elastogram", *COLUMNS)] == [False]


def test_a_sample_without_any_input_has_no_probabilities() -> None:
    network = ExportedNetwork(networks("multimodal"), RULES)
    values = example(network, 3)
    for entry, value in zip(network.entries, values, strict=True):
        if entry.dtype == "bool":
            value[0] = False
    values[2][0] = math.nan  # clinical values
    chances = graphs.torch_answer(network)(values)[0]
    assert np.isnan(chances[0]).all()
    assert np.isfinite(chances[1:]).all()


def test_clinical_values_come_to_the_scales_of_the_network() -> None:
    table = pd.DataFrame({"lsm_kpa": [6.5, np.nan], "age_years": [44.0, 61.0], "sex": ["M", ""]})
    raw = torch.from_numpy(parity.raw_values(table, [*COLUMNS, "alt_u_l"]))
    scaled = on_scales(raw, [*COLUMNS, "alt_u_l"]).numpy()
    np.testing.assert_allclose(scaled, measured(table, [*COLUMNS, "alt_u_l"]), rtol=1e-6)


def test_networks_with_other_inputs_are_not_averaged() -> None:
    first, second = networks("single", 2)
    other = replace(second, record={**second.record, "preprocess": {"size": 32, "crop": "borders"}})
    with pytest.raises(ConfigError, match="differ in preprocess, and one exported network"):
        ExportedNetwork([first, other], RULES)


def test_a_network_that_cannot_be_traced_is_refused_with_the_reason() -> None:
    found = networks("single")
    network = ExportedNetwork(found, RULES)
    network.members[0].network.head = Deciding()  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match=r"The network cannot be exported by torch\.export \("):
        graphs.traced(network)


class Deciding(torch.nn.Module):
    """A head whose layers depend on the values."""

    def forward(self, features: Tensor) -> Tensor:
        return features[:, :5] if float(features.sum()) > 0 else features[:, 5:10]


def test_what_is_no_number_is_no_parity() -> None:
    one, two = np.array([[0.2, 0.8]]), np.array([[0.2, np.nan]])
    assert parity.difference([one], [one + 0.01]) == pytest.approx(0.01)
    assert parity.difference([two], [one]) == parity.difference([one], [two]) == math.inf


def test_after_an_error_no_draft_is_left(tmp_path: Path) -> None:
    def refused() -> None:
        with drafted(tmp_path) as draft:
            (draft / "model.onnx").write_bytes(b"half")
            raise DataError("It differs.")

    with pytest.raises(DataError, match="differs"):
        refused()
    assert not list(tmp_path.iterdir())
    with drafted(tmp_path) as draft:
        (draft / keys.EXPORT_FILE).write_text("{}")
    assert [path.name for path in tmp_path.iterdir()] == [keys.EXPORT_FILE]


def test_settings_that_contradict_and_missing_packages_are_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = composed("run=abc", "format=bundle", "int8=true", name="export")
    with pytest.raises(ConfigError, match="int8=true needs format=onnx, not bundle"):
        export.imported(config)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = composed("run=abc", "format=onnx", name="export")
    with pytest.raises(ConfigError, match=r"needs onnx, onnxscript, onnxruntime: install it by"):
        export.imported(config)


def test_a_served_table_is_checked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="columns that are not known: imgae"):
        served_model.checked(pd.DataFrame({"imgae": ["a.png"]}), ["image"])
    with pytest.raises(DataError, match="has no row"):
        served_model.checked(pd.DataFrame({"image": []}), ["image"])
    given = pd.DataFrame({"image": ["a", "b"], "lsm_kpa": [6.5, np.nan], "sex": None, "roi": None})
    table = served_model.checked(given, ["image", "elastogram", "lsm_kpa", "sex"])
    assert table.to_dict("list") == {
        "sample_id": ["row 1", "row 2"],
        "image": ["a", "b"],
        "elastogram": ["", ""],  # an input without a column is a missing one
        "lsm_kpa": ["6.5", ""],
        "sex": ["", ""],
        "patient_id": ["", ""],
    }
    with pytest.raises(DataError, match="image in row 1 is neither the path of a file on this machine nor"):
        served_model.put_file("no file", tmp_path / "0", "image in row 1")


def test_a_long_model_card_is_cut_between_paragraphs() -> None:
    card = "\n\n".join(["A sentence of forty characters, or about."] * 300)
    cut = shortened(card)
    assert len(cut) <= 5000
    assert cut.endswith("about.\n\nThe rest of the card is in model_card.md of the run.")
    assert shortened("short") == "short"
