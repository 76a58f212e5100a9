"""Pseudo-masks: from the maps of a classifier to a segmenter that is trained on them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from compose import composed, prepared, run_folder
from drawn import unrendered, unreported
from own_data import PHANTOMS
from PIL import Image

from fibrolab import keys
from fibrolab.analyses.explaining import explain
from fibrolab.data.geometry import Geometry
from fibrolab.errors import ConfigError, DataError
from fibrolab.explanation import maps
from fibrolab.loading import load
from fibrolab.pipeline import run
from fibrolab.runs import TrainedRun, open_run
from fibrolab.runs import pseudo_masks as files

SMALL = [
    "preprocess.size=32", "trainer.max_epochs=1", "num_workers=0", "bootstrap.resamples=20",
    "trainer.accelerator=cpu", "augment=none",
]  # fmt: skip
UNET = ["model=unet", "model.network.channels=[8,16]", "model.network.residual_units=0", "data=pseudo_masks"]
LIVER = "explain.true_levels=[2,3]"
WORDS = "agreement with the classifier&#39;s maps, not with anatomy"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path, cache: Path) -> Path:
    """The root of a database with a classifier's run, whose pseudo-masks have the threshold of paper 2."""
    root = prepared(tmp_path_factory.mktemp("masked"), fresh_database, cache)
    phantoms = ["data=phantom_masks", *PHANTOMS["phantom_masks"], "preprocess.crop=borders"]
    with unreported():
        run(composed(f"paths.root={root}", *SMALL, *phantoms))
    explained(root, run_folder(root).parent.name, LIVER)
    return root


def explained(root: Path, run_id: str, *words: str) -> None:
    place = (f"paths.root={root}", f"run={run_id}", "accelerator=cpu", f"folder={root / 'new'}")
    with unrendered():
        explain(composed(*place, "num_workers=0", "pseudo_masks=true", *words, name="explain"))


@pytest.fixture(scope="module")
def classifier(root: Path) -> TrainedRun:
    (folder,) = root.glob(f"mlruns/artifacts/*/artifacts/{keys.PSEUDO_MASKS}")
    return open_run(folder.parent)


def table(trained: TrainedRun) -> pd.DataFrame:
    return pd.read_csv(trained.folder / keys.PSEUDO_MASKS / files.TABLE, keep_default_na=False)


def test_every_sample_has_the_mask_of_its_own_map_in_the_pixels_of_its_picture(
    classifier: TrainedRun,
) -> None:
    found = table(classifier)
    assert found[keys.SAMPLE_ID].tolist() == classifier.split[keys.SAMPLE_ID].tolist()
    assert found[keys.PARTITION].tolist() == classifier.split[keys.PARTITION].tolist()
    assert set(zip(found["rule"], found["threshold"], found["chosen_on"], strict=True)) == {
        ("maximum", 0.5, "fixed")
    }
    explanation = maps.read(classifier.folder)
    paths, folder = found.set_index(keys.SAMPLE_ID), classifier.folder / keys.PSEUDO_MASKS
    for row, sample in enumerate(explanation.table[keys.SAMPLE_ID]):
        place = Geometry(*explanation.geometry().iloc[row].astype(int))
        values = np.asarray(explanation.arrays["gradcam", "image"][row], np.float32)
        heat = place.to_picture(values)
        mask = np.asarray(Image.open(folder / paths.loc[sample, keys.MASK]))
        assert mask.shape == (64, 64)
        assert set(np.unique(mask)) <= {0, 1}
        sure = np.abs(heat / np.nanmax(heat) - 0.5) > 0.01 if np.nanmax(heat) > 0 else np.isfinite(heat)
        assert np.array_equal((mask == 1)[sure], (heat >= 0.5 * max(np.nanmax(heat), 1e-9))[sure])
        assert not mask[np.isnan(heat)].any()
        true = np.asarray(Image.open(folder / paths.loc[sample, keys.TRUE_MASK]))
        assert set(np.unique(true)) == {0, 1}
    metrics = pd.read_csv(folder / files.METRICS, index_col="metric")
    measures = pd.read_csv(folder / files.MEASURES)
    test = measures[(measures[keys.PARTITION] == keys.TEST) & (measures["of"] == "network")]
    assert metrics.loc["iou", "value"] == pytest.approx(test["iou"].mean())
    assert 0.4 < metrics.loc["iou", "baseline"] < 1  # the liver lies in about the same place


def test_a_killed_call_keeps_the_masks_that_there_are(
    root: Path, classifier: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = classifier.folder / keys.PSEUDO_MASKS
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    saved = []

    def killed(*_: object) -> tuple[np.ndarray, float]:
        if len(saved) == 7:
            raise KeyboardInterrupt
        saved.append(True)
        return np.ones((64, 64), bool), 0.1

    monkeypatch.setattr("fibrolab.explanation.mask_rules.mask_of", killed)
    with pytest.raises(KeyboardInterrupt):
        explained(root, classifier.run_id, "explain.mask_threshold=0.1", "samples=2")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not list(classifier.folder.glob(".*"))


def test_a_threshold_may_be_chosen_on_validation_samples_only(root: Path, classifier: TrainedRun) -> None:
    folder = classifier.folder / keys.PSEUDO_MASKS
    fixed = pd.read_csv(folder / files.MEASURES)
    explained(root, classifier.run_id, "explain.mask_threshold=chosen", LIVER, "samples=2")
    chosen, made = pd.read_csv(folder / files.MEASURES), table(classifier)
    (origin,) = set(made["chosen_on"])
    number = (made[keys.PARTITION] == keys.VALIDATION).sum()
    assert origin == f"{number} validation samples with true masks"

    def validated(measures: pd.DataFrame) -> float:
        rows = (measures[keys.PARTITION] == keys.VALIDATION) & (measures["of"] == "network")
        return float(measures.loc[rows, "iou"].mean())

    assert validated(chosen) >= validated(fixed)
    explained(root, classifier.run_id, LIVER, "samples=2")  # as before
    assert pd.read_csv(folder / files.MEASURES).equals(fixed)


def test_a_segmenter_keeps_the_classifier_s_split_and_is_measured_against_both_masks(
    root: Path, classifier: TrainedRun
) -> None:
    with unrendered():
        run(composed(f"paths.root={root}", *SMALL, *UNET, f"data.run={classifier.run_id}"))
    own = segmenter(root)
    assert own.tested == classifier.tested
    assert own.split[keys.PARTITION].tolist() == classifier.split[keys.PARTITION].tolist()
    metrics = own.metrics.set_index("metric")
    assert {"iou", "dice", "agreement_with_maps_iou", "agreement_with_maps_dice"} <= set(metrics.index)
    measures = own.mask_measures
    rows = (measures[keys.PARTITION] == keys.TEST) & (measures["of"] == "network")
    for against, name in (("true_masks", "iou"), ("maps", "agreement_with_maps_iou")):
        part = measures[rows & (measures["against"] == against)]
        assert set(part[keys.SAMPLE_ID]) == classifier.tested
        assert metrics.loc[name, "value"] == pytest.approx(part["iou"].mean())
    areas = measures[measures["against"] == "true_masks"].groupby(keys.SAMPLE_ID)["area_true"].first()
    true = pd.read_csv(classifier.folder / keys.PSEUDO_MASKS / files.MEASURES)
    assert areas.equals(true.groupby(keys.SAMPLE_ID)["area_true"].first().loc[areas.index])
    page = (own.folder / keys.REPORT_FILE).read_text()
    assert WORDS in page
    assert "0.50 of the largest value of each map, fixed" in page
    levels = {
        each["key"]: each["level"]
        for each in json.loads((own.folder / keys.AUDIT_FILE).read_text())["findings"]
    }
    assert levels["pseudo_masks"] == "warning"


def test_without_true_masks_every_number_is_called_agreement(root: Path, classifier: TrainedRun) -> None:
    path = classifier.folder / keys.PSEUDO_MASKS / files.TABLE
    before = path.read_bytes()
    table(classifier).assign(**{keys.TRUE_MASK: ""}).to_csv(path, index=False)
    known = {each.parent for each in root.glob("mlruns/artifacts/*/artifacts")}
    try:
        with unrendered():
            run(composed(f"paths.root={root}", *SMALL, *UNET, f"data.run={classifier.run_id}"))
    finally:
        path.write_bytes(before)
    (new,) = {each.parent for each in root.glob("mlruns/artifacts/*/artifacts")} - known
    own = open_run(new / "artifacts")
    assert all(name.startswith("agreement_with_maps_") for name in own.metrics["metric"])
    page = (own.folder / keys.REPORT_FILE).read_text()
    assert f"IoU, {WORDS}" in page
    assert "area of the classifier&#39;s map" in page


def segmenter(root: Path) -> TrainedRun:
    (folder,) = root.glob(f"mlruns/artifacts/*/artifacts/{keys.MASKS_FILE}")
    return open_run(folder.parent)


def test_runs_without_pseudo_masks_are_refused_in_a_sentence(
    root: Path, classifier: TrainedRun, tmp_path: Path
) -> None:
    def loaded(place: object) -> None:
        load(composed(f"paths.root={root}", *UNET, f"data.run={place}"))

    path = classifier.folder / keys.PSEUDO_MASKS / files.TABLE
    before = path.read_bytes()
    path.unlink()
    try:
        command = f"python -m fibrolab.explain run={classifier.run_id} pseudo_masks=true"
        with pytest.raises(ConfigError, match=f"has no pseudo-masks: make them by `{command}`"):
            loaded(classifier.run_id)
        path.write_text("sample_id,mask\n1,2\n")
        with pytest.raises(DataError, match="is damaged"):
            loaded(classifier.run_id)
    finally:
        path.write_bytes(before)
    mask = classifier.folder / keys.PSEUDO_MASKS / table(classifier)[keys.MASK].iloc[0]
    assert (
        load(composed(f"paths.root={root}", *UNET, f"data.run={classifier.run_id}")).manifest.masks()[0].path
        == mask
    )
    (classifier.folder / keys.MASK_MEASURES_FILE).touch()
    try:
        with pytest.raises(
            ConfigError, match="segments images, and pseudo-masks come from the maps of a classifier"
        ):
            loaded(classifier.run_id)
    finally:
        (classifier.folder / keys.MASK_MEASURES_FILE).unlink()
    with pytest.raises(ConfigError, match=r"one method: set explain\.method=NAME"):
        explained(root, classifier.run_id, "explain.method=[gradcam,layercam]")


def test_masks_that_crop_the_pictures_are_no_true_masks(root: Path, classifier: TrainedRun) -> None:
    phantoms = ["data=phantom_masks", *PHANTOMS["phantom_masks"], "preprocess.crop=mask"]
    known = {classifier.folder, *root.glob("mlruns/artifacts/*/artifacts")}
    with unreported():
        run(composed(f"paths.root={root}", *SMALL, *phantoms, "preprocess.crop_levels=[2,3]"))
    (folder,) = set(root.glob("mlruns/artifacts/*/artifacts")) - known
    cropped = open_run(folder)
    with pytest.raises(ConfigError, match="compares masks with true ones of the validation samples"):
        explained(root, cropped.run_id, "explain.mask_threshold=chosen", "samples=2")
    assert not (folder / keys.EXPLANATION).exists(), "refused before any map is computed"
    explained(root, cropped.run_id, "samples=2")
    assert (table(cropped)[keys.TRUE_MASK] == "").all()
    assert not (folder / keys.PSEUDO_MASKS / files.METRICS).exists()
