"""Tests of a run's maps, on samples with masks from disk."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_classifier import settings
from small_clinic import EVERYONE, SAMPLES, SIDE, clinic, datamodule

from fibrolab import keys
from fibrolab.analyses.map_testing import true_regions, write_tests
from fibrolab.errors import UnreadableImageError
from fibrolab.explanation import testing, verdicts
from fibrolab.explanation.map_batches import Request
from fibrolab.explanation.target_scores import Task
from fibrolab.modules.base import Classifier


def network() -> SimpleNamespace:
    """Return a stand-in for the network of a run, without its checkpoint."""
    classes = ["mild", "severe"]
    module = Classifier(**settings(classes=classes, class_counts=[6, 6], image_size=SIDE))
    return SimpleNamespace(
        classifier=module,
        record={"preprocess": {"size": SIDE}},
        datamodule=lambda data, cache: datamodule(data, keys.IMAGE),
        task=Task(module.criterion, classes),
    )


def masked(folder: Path, levels: np.ndarray, without: tuple[int, ...] = ()) -> list[str]:
    names = []
    for row in EVERYONE:
        Image.fromarray(levels).save(folder / f"{row}_mask.png")
        names.append("" if row in without else f"{row}_mask.png")
    return names


def test_a_run_s_maps_are_tested_against_its_masks(tmp_path: Path) -> None:
    levels = np.zeros((SIDE, SIDE), np.uint8)
    levels[:16, :16] = 1
    data = clinic(tmp_path, mask=masked(tmp_path, levels, without=(0,)))
    (tmp_path / "explanation").mkdir()
    trained = [network(), network()]
    request = Request(("gradcam",), ("image",), target="true")
    table, _ = write_tests(tmp_path / "explanation", trained, data, request, trained[0].task, tmp_path, "cpu")
    stored = pd.read_csv(tmp_path / "explanation" / testing.TESTS_FILE)
    assert len(stored) == len(table)
    inside = table[table.measure == "energy inside, the mask, an even map"]
    assert inside.reference.item() == pytest.approx(0.25)
    assert (table.test == verdicts.NETWORKS).sum() == 2
    assert table.sentence[0].startswith("Grad-CAM of branch image: ")


def test_each_label_is_a_region_and_samples_without_a_mask_have_none(tmp_path: Path) -> None:
    levels = np.zeros((SIDE, SIDE), np.uint8)
    levels[0], levels[1:3] = 1, 4
    data = clinic(tmp_path, mask=masked(tmp_path, levels, without=(2, 5)))
    regions = true_regions(data, network())  # type: ignore[arg-type]
    assert list(regions) == ["label 1 of the mask", "label 4 of the mask"]
    pixels = regions["label 4 of the mask"].sum(dim=(1, 2)).numpy()
    cropped = network()
    cropped.record["preprocess"]["crop"] = "mask"
    assert true_regions(data, cropped) == {}  # type: ignore[arg-type]
    assert pixels.tolist() == [0 if row in (2, 5) else 2 * SIDE for row in range(SAMPLES)]


def test_samples_without_masks_have_no_regions(tmp_path: Path) -> None:
    assert true_regions(clinic(tmp_path), network()) == {}  # type: ignore[arg-type]


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    data = clinic(tmp_path, mask=masked(tmp_path, np.ones((8, 8), np.uint8)))
    with pytest.raises(UnreadableImageError, match=r"the mask has 8 x 8 pixels, its image 0\.png 32 x 32"):
        true_regions(data, network())  # type: ignore[arg-type]
