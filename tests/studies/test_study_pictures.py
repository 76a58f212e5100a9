"""Pictures of a study: the same samples for all arms, by modality, and reasons where an arm has no map."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawn import texts
from omegaconf import OmegaConf
from PIL import Image
from small_classifier import settings
from small_clinic import EVERYONE, PARTITIONS, clinic
from small_fusion import TINY

from fibrolab import keys
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.preprocess import Preprocess
from fibrolab.errors import ConfigError
from fibrolab.explanation import selection
from fibrolab.modules.classifiers import MultimodalClassifier, SingleClassifier, VideoClassifier
from fibrolab.reporting.figures import picture_grid
from fibrolab.reporting.figures.picture_grid import Column
from fibrolab.runs.checkpoint import Predictor
from fibrolab.studies import study_pictures
from fibrolab.studies.definition import Arm, Study
from fibrolab.studies.study_pictures import ArmNetwork, Gathered

KINDS: dict[str, tuple[type, dict[str, Any]]] = {
    "grey": (SingleClassifier, {"image": TINY}),
    "both": (MultimodalClassifier, {"a": TINY, "swe": {**TINY, "input": "elastogram"}}),
    "film": (VideoClassifier, {"clip": {**TINY, "input": "clip", "frames": {"name": "average"}}}),
}
FLIP = {"transforms": [{"name": "HorizontalFlip", "p": 1.0}]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> LabelledData:
    return clinic(tmp_path_factory.mktemp("clinic"), elastograms=[9, 10], clips=EVERYONE)


def run_of(data: LabelledData, augment: Mapping[str, Any]) -> SimpleNamespace:
    table = data.manifest.table.assign(
        **{
            keys.Y_TRUE: data.labels,
            keys.PARTITION: PARTITIONS,
            "sha256": data.facts[keys.IMAGE]["sha256"],
            "elastogram_sha256": data.facts[keys.ELASTOGRAM]["sha256"],
            "clip_sha256": data.facts[keys.CLIP]["file_sha256"],
        }
    ).set_index(keys.SAMPLE_ID)
    config = OmegaConf.create({"augment": augment, "seed": 0})
    return SimpleNamespace(
        samples=table, learnt_from=table[:9], config=config, has_several_networks=False, name="Run x"
    )


def arm(kind: str, data: LabelledData, scores: Mapping[str, float]) -> ArmNetwork:
    """An untrained network with made-up probabilities of the class `severe`."""
    made, branches = KINDS[kind]
    module = made(**settings(branches=branches, classes=["mild", "severe"], class_counts=[6, 6]))
    record = {
        "preprocess": {"size": 32},
        "segment": {"length": 3},
        "classes": ["mild", "severe"],
        "task": {"endpoints": None},
        "batch_size": 4,
    }
    truth = dict(zip(data.manifest.table[keys.SAMPLE_ID], data.labels, strict=True))
    frame = pd.DataFrame(
        {keys.SAMPLE_ID: list(scores), keys.Y_TRUE: [truth[name] for name in scores]}
        | {"p_0": [1 - score for score in scores.values()], "p_1": list(scores.values())}
    )
    modalities: dict[str, list[str]] = {}
    for name, branch in branches.items():
        modalities.setdefault(branch.get("input", keys.IMAGE), []).append(name)
    groups = {name: name for name in scores}
    network = Predictor(Path("best.ckpt"), module.eval(), record)
    return ArmNetwork(kind, run_of(data, FLIP), network, data, selection.outcomes(frame), groups, modalities)  # type: ignore[arg-type]


def study(**arms: Arm) -> Study:
    known = {name: Arm(name, label=name) for name in KINDS} | arms
    return Study("s", Path(), Path(), "S", "", known, {}, ("",), (0,), ("auc",), "both", {}, {})


def shown(columns: list[Column]) -> dict[str, list[str]]:
    return {column.title: [tile.title for tile in column.tiles] for column in columns}


def test_all_arms_are_shown_on_the_samples_that_the_reference_is_surest_of(
    data: LabelledData, tmp_path: Path
) -> None:
    found = Gathered(absent={"GM + LSM": "A regression has no map."})
    found.networks["grey"] = arm("grey", data, {"s9": 0.4, "s10": 0.3, "s11": 0.45})
    found.networks["both"] = arm("both", data, {"s10": 0.1, "s9": 0.2, "s11": 0.7})  # s9 and s11 are severe
    found.networks["film"] = arm("film", data, {"s10": 0.6, "s11": 0.8})
    image, elastogram, clip = study_pictures._maps(study(), found, "audited", tmp_path / "cache")
    name, columns, rows, caption = image
    assert name == "maps_audited_image"
    assert rows == ["surest right", "surest right", "surest wrong"]
    assert shown(columns) == {
        "Original": ["true mild", "true severe", "true severe"],
        "grey": ["mild (70\u00a0%) right", "mild (55\u00a0%) wrong", "mild (60\u00a0%) wrong"],
        "both": ["mild (90\u00a0%) right", "severe (70\u00a0%) right", "mild (80\u00a0%) wrong"],
        "GM + LSM": [],
    }
    assert "the 2 that both predicts right and the 1 that it predicts wrong" in caption
    for column in columns[1:3]:
        for tile, original in zip(column.tiles, columns[0].tiles, strict=True):
            assert tile.pixels is not None
            assert original.pixels is not None
            assert tile.pixels.shape == (*original.pixels.shape, 3)
    assert texts(picture_grid.grid(columns, rows))

    _, (_, of_both), rows, _ = elastogram  # the reason is said once
    assert len(rows) == 3
    assert [tile.pixels is not None for tile in of_both.tiles] == [True, False, True]  # s11 has none
    _, (originals, of_film), _, caption = clip
    assert shown([of_film]) == {"film": ["severe (80\u00a0%) right", "severe (60\u00a0%) wrong"]}
    assert "middle frame" in caption
    assert originals.tiles[0].pixels is not None
    assert originals.tiles[0].pixels.shape == (32, 32)


def test_an_arm_that_was_tested_on_other_samples_says_so(data: LabelledData, tmp_path: Path) -> None:
    found = Gathered()
    found.networks["both"] = arm("both", data, {"s9": 0.9, "s10": 0.2})
    found.networks["grey"] = arm("grey", data, {"s11": 0.9})
    (_, columns, _, _), *_ = study_pictures._maps(study(), found, "audited", tmp_path / "cache")
    assert [(column.title, column.absent) for column in columns] == [
        ("Original", ""),
        ("both", ""),
        ("grey", "It was tested on other samples."),
    ]


def test_samples_are_shown_as_read_preprocessed_and_augmented(data: LabelledData, tmp_path: Path) -> None:
    found = Gathered({"grey": arm("grey", data, {"s9": 0.4})})
    ((name, columns, rows, caption),) = study_pictures._steps(study(), found, "audited", tmp_path / "cache")
    assert (name, rows) == ("preprocessing_audited", ["mild", "severe"])
    raw, seen, augmented = (column.tiles for column in columns)
    for before, after, flipped in zip(raw, seen, augmented, strict=True):
        np.testing.assert_array_equal(after.pixels, before.pixels)  # of the network's size already
        np.testing.assert_array_equal(flipped.pixels, np.asarray(after.pixels)[:, ::-1])
        assert before.title == "32 × 32 px"
    assert caption.endswith("Steps: resized to 32 × 32 px. Augmentation: HorizontalFlip (p 1.0).")


def test_a_sample_of_each_stage_is_shown_in_all_modalities(data: LabelledData, tmp_path: Path) -> None:
    found = Gathered({"grey": arm("grey", data, {"s9": 0.4})})
    assert list(study_pictures._pairs(found, "audited", tmp_path / "cache")) == []
    found.networks["both"] = arm("both", data, {"s11": 0.1, "s10": 0.2, "s9": 0.7})  # s11 has no elastogram
    ((name, columns, rows, caption),) = study_pictures._pairs(found, "audited", tmp_path / "cache")
    assert (name, rows) == ("pairs_audited", ["pictures", "elastograms"])
    assert shown(columns) == {"mild": ["", ""], "severe": ["", ""]}
    grey, colours = (tile.pixels for tile in columns[0].tiles)  # of s10
    np.testing.assert_array_equal(grey, np.asarray(Image.open(data.manifest.root / "10.png")))
    np.testing.assert_array_equal(colours, np.asarray(Image.open(data.manifest.root / "10_swe.png")))
    assert caption.endswith("by id: pictures and elastograms, the parts that both sees.")
    assert texts(picture_grid.grid(columns, rows))


def test_steps_are_said_in_their_order() -> None:
    paper = Preprocess(crop="borders", denoise=10, equalize="both", resize="first")
    assert study_pictures._described(paper) == [
        "cropped to the scan",
        "resized to 224 × 224 px",
        "non-local means (h = 10)",
        "histogram equalisation",
        "CLAHE (limit 2, 8 × 8 tiles)",
    ]
    assert study_pictures._described(Preprocess(equalize="clahe"))[-1] == "resized to 224 × 224 px"


def test_arms_without_a_network_have_reasons(data: LabelledData) -> None:
    def refused() -> None:
        raise ConfigError("Run x kept\nno network.")

    place = study_pictures.Place("audited", "grey", "", 0)
    places = [place._replace(arm=name) for name in ("grey", "both", "stacked", "masks", "hidden")]
    own = study(
        stacked=Arm("stacked", label="Stacked", stack=("grey",)),
        masks=Arm("masks", label="Masks", masks_of="grey"),
        hidden=Arm("hidden", label="Hidden", shown=False),
    )
    runs: Any = {places[0]: SimpleNamespace(first_network=refused)}
    loaded: Any = SimpleNamespace(of=lambda training: data)
    found = study_pictures._gathered(own, places, {places[0]: None}, runs, loaded)  # type: ignore[dict-item]
    assert found.networks == {}
    assert found.absent == {
        "grey": "Run x kept no network.",
        "both": "Its training did not finish.",
        "Stacked": "A regression has no map.",
    }


def test_segmentations_are_shown_from_the_highest_to_the_lowest_iou_and_copies_once() -> None:
    values = {"a": 0.9, "copy_of_a": 0.8, "b": 0.7, "c": 0.6, "d": 0.5, "e": 0.4, "f": 0.3, "copy_of_f": 0.2}
    own = pd.DataFrame({keys.SAMPLE_ID: list(values), "iou": list(values.values()), "class": "lesion"})
    own[keys.GROUP_ID] = own[keys.SAMPLE_ID].str[-1]
    tested = own.assign(**{keys.PARTITION: keys.TEST, "of": "network"})
    others = [
        tested.assign(of="mean_mask", iou=0.1),
        tested.assign(**{keys.PARTITION: keys.TRAIN, "iou": 0.1}),
    ]
    run = SimpleNamespace(mask_measures=pd.concat([tested, *others]))
    chosen = study_pictures._by_overlap(run)  # type: ignore[arg-type]
    highest, middle, lowest = (f"{rule} IoU" for rule in ("highest", "middle", "lowest"))
    assert chosen == {
        "a": (highest, 0.9), "b": (highest, 0.7), "c": (highest, 0.6), "d": (middle, 0.5),
        "e": (lowest, 0.4), "copy_of_f": (lowest, 0.2),
    }  # fmt: skip
