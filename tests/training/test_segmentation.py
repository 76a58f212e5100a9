"""Segmentations from data to report; faults of masks are refused before the training."""

from pathlib import Path

import dicom_case
import numpy as np
import pandas as pd
import pytest
from compose import composed, prepared, run_folder
from drawn import unrendered
from PIL import Image
from small_masks import write

from fibrolab import allowed, explain, keys
from fibrolab.analyses.evaluating import conclude
from fibrolab.data import masks
from fibrolab.data.box import Box
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.preprocess import Preprocess
from fibrolab.errors import ConfigError, DataError
from fibrolab.loading import load
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.training import settings

QUICK = [
    "model=unet", "model.network.channels=[8,16,32]", "model.network.residual_units=0", "data=table",
    "preprocess.size=32", "batch_size=8", "num_workers=0", "trainer.accelerator=cpu", "optimizer.lr=0.01",
    "bootstrap.resamples=100",
]  # fmt: skip


@pytest.mark.slow
def test_a_segmentation_beats_the_mean_mask_and_is_reported(root: Path) -> None:
    from fibrolab.pipeline import run

    path = write(root / "own")
    run(composed(*QUICK, f"data.path={path}", "trainer.max_epochs=10", f"paths.root={root}"))
    folder = run_folder(root)
    metrics = pd.read_csv(folder / keys.METRICS_FILE).set_index("metric")
    assert metrics["low"]["dice"] > metrics["baseline"]["dice"] + 0.3
    predicted = pd.read_csv(folder / keys.MASKS_FILE)
    samples = pd.read_csv(folder / keys.SPLIT_FILE).set_index(keys.SAMPLE_ID)[keys.PARTITION]
    assert set(predicted[keys.SAMPLE_ID]) == set(samples.index[samples != keys.TRAIN])
    for _, row in predicted.iterrows():
        assert Image.open(folder / row[keys.MASK]).size == Image.open(root / "own" / row[keys.IMAGE]).size
    page = (folder / keys.REPORT_FILE).read_text()
    assert all(words in page for words in ("Segmentation", "mean training mask", "95 % Hausdorff distance"))
    assert "majority class" not in page.partition("Data</h2>")[0]
    assert {"masks.png", "area_agreement.png", "pixel_calibration.png"} <= {
        each.name for each in (folder / keys.FIGURES).iterdir()
    }
    before = (folder / keys.METRICS_FILE).read_bytes()
    evaluated(root, folder)
    assert (folder / keys.METRICS_FILE).read_bytes() == before
    with pytest.raises(ConfigError, match="segments images, and this needs a run that classifies samples"):
        _ = TrainedRun(folder).predictions


@pytest.mark.slow
@pytest.mark.timeout(580)
@pytest.mark.usefixtures("quick_children")
def test_two_ranks_segment_like_one_process(
    tmp_path: Path, fresh_database: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fibrolab.pipeline import run

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    path, found = write(tmp_path / "own"), []
    for name, words in (("alone", []), ("ranks", ["trainer=ddp_cpu", "trainer.devices=2"])):
        (tmp_path / name).mkdir()
        root = prepared(tmp_path / name, fresh_database, cache)
        with unrendered():
            run(composed(*QUICK, *words, f"data.path={path}", "trainer.max_epochs=2", f"paths.root={root}"))
        order = [keys.SAMPLE_ID, "of", "against", "class"]
        measured = pd.read_csv(run_folder(root) / keys.MASK_MEASURES_FILE).sort_values(order)
        found.append((pd.read_csv(run_folder(root) / keys.HISTORY_FILE), measured.reset_index(drop=True)))
    for one, other in zip(*found, strict=True):
        pd.testing.assert_frame_equal(one, other, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_the_folds_of_a_segmentation_are_one_run(root: Path) -> None:
    from fibrolab import cross_validation
    from fibrolab.analyses import comparing, segmented_data

    path = write(root / "own", patients=12)
    words = ["folds=all", "split=kfold", "split.folds=2", "split.val=0.2", "trainer.max_epochs=1"]
    with unrendered():
        done = cross_validation.train(composed(*QUICK, *words, f"data.path={path}", f"paths.root={root}"))
    run = TrainedRun(done.folder, done.id)
    names = pd.read_csv(path)["image"]
    measures = run.mask_measures
    assert set(measures[keys.PARTITION]) == {keys.TEST}
    assert sorted(measures[measures["of"] == "network"][keys.SAMPLE_ID]) == sorted(names)
    for _, row in pd.read_csv(run.folder / keys.MASKS_FILE).iterrows():
        child = run.networks.set_index(keys.FOLD)["run"][row[keys.FOLD]]
        own = run.folder.parents[1] / child / "artifacts" / row[keys.MASK]
        assert (run.folder / row[keys.MASK]).read_bytes() == own.read_bytes()
    folds = run.table("folds").query("metric == 'dice'")
    of_fold = measures[measures["of"] == "network"].groupby(keys.FOLD)["dice"].mean()
    assert folds["value"].tolist() == pytest.approx([*of_fold, of_fold.mean()])
    page = (run.folder / keys.REPORT_FILE).read_text()
    assert "each test image is segmented by the network of the fold that left it out" in page
    evaluated(root, run.folder)
    pair = composed(
        f"runs={{a:{run.run_id},b:[{','.join(run.networks['run'])}]}}", f"paths.root={root}", name="compare"
    )
    with unrendered():
        comparing.run(pair)
    elsewhere = composed(
        f"run={run.run_id}", "data=table", f"data.path={path}", f"paths.root={root}", name="evaluate"
    )
    with pytest.raises(ConfigError, match="is an ensemble of 2 networks, and one is needed"):
        segmented_data.write(elsewhere, run)


def evaluated(root: Path, folder: Path) -> None:
    """Evaluate a run again, as the command does."""
    from fibrolab.tracking import reopen

    config = composed(f"paths.root={root}", "bootstrap.resamples=100")
    with reopen(config.tracking.uri, folder.parent.name) as tracked:
        conclude(tracked, config, scoring="evaluate")


def loaded(root: Path, path: Path, *words: str) -> FibrosisDataModule:
    """Load data of a segmentation and read its masks."""
    from fibrolab.training.building import build_module
    from fibrolab.training.fitting import build_datamodule

    config = composed(*QUICK, f"data.path={path}", f"paths.root={root}", *words)
    data = load(config)
    datamodule = build_datamodule(config, data, build_module(config, data))
    datamodule.prepare_data()
    return datamodule


def test_masks_in_png_nifti_and_one_seg_of_several_images_are_read_by_one_column(root: Path) -> None:
    import nibabel

    path = write(root / "own", patients=20, images=1)
    given, of_seg = pd.read_csv(path), []
    for row, (image, mask) in given[["image", "mask"]].iterrows():
        pixels, labels = (np.array(Image.open(path.parent / name)) for name in (image, mask))
        scan = dicom_case.dataset(pixels, SOPInstanceUID=f"1.2.{row}")
        (path.parent / f"{row}.dcm").write_bytes(dicom_case.saved(scan))
        if row % 3 == 1:
            nibabel.save(nibabel.Nifti1Image(labels.T, np.eye(4)), path.parent / f"{row}.nii.gz")
        elif row % 3 == 2:
            of_seg.append((labels > 0, f"1.2.{row}"))
    frames, uids = zip(*of_seg, strict=True)
    sources = [(uid, None) for uid in uids]
    dicom_case.seg(path.parent / "all.dcm", np.stack(frames), [1] * len(frames), sources=sources)
    names = [("{}_mask.png", "{}.nii.gz", "all.dcm")[row % 3].format(row) for row in given.index]
    given.assign(image=[f"{row}.dcm" for row in given.index], mask=names).to_csv(
        other := path.with_name("formats.csv"), index=False
    )
    datamodule = loaded(root, other)
    manifest, crop = datamodule.data.manifest, Preprocess(size=32, crop="mask")
    found = datamodule.labelled_images(manifest.table[keys.SAMPLE_ID].tolist())
    for row, (image, labelled) in enumerate(zip(manifest.media(), found.values(), strict=True)):
        png = np.array(Image.open(path.parent / f"{row}_mask.png"))
        assert png.any()
        assert (labelled.labels == png).all()
        whole = Box(0, 0, *png.shape[::-1])
        assert (masks.Reader().kept(image, png.shape, whole, crop) == (png > 0)).all()


def test_masks_that_cannot_be_used_are_refused_in_one_sentence_each(root: Path) -> None:
    path = write(root / "own", patients=20, images=1)
    given = pd.read_csv(path)
    given.assign(mask=given["mask"].where(given.index % 2 == 0)).to_csv(
        half := root / "own/half.csv", index=False
    )
    given.drop(columns="mask").to_csv(none := root / "own/none.csv", index=False)
    with pytest.raises(DataError, match=r"needs a mask for every sample of 'half'; rows 3, 5, 7"):
        loaded(root, half)
    given.assign(mask="").to_csv(empty := root / "own/empty.csv", index=False)
    for path_of, name in ((none, "none"), (empty, "empty")):
        with pytest.raises(DataError, match=rf"needs a mask for every sample; '{name}' has none"):
            loaded(root, path_of)
    Image.fromarray(np.full((10, 10), 1, np.uint8)).save(root / "own/0_mask.png")
    Image.fromarray(np.full((12, 12), 1, np.uint8)).save(root / "own/1_mask.png")
    with pytest.raises(DataError, match=r"(?s)0_mask.png: the mask has 10 x 10.*1_mask.png: .*12 x 12"):
        loaded(root, path)


def test_levels_of_no_class_are_named_with_their_masks(root: Path) -> None:
    path = write(root / "own", patients=20, images=1, level=7)
    with pytest.raises(DataError, match=r"(?s)belong to no class .*liver \[2, 3\].*7: masks 0_mask.png, 1_"):
        loaded(root, path, "task.levels={liver:[2,3]}")
    loaded(root, path, "task.levels={liver:[7]}")
    with pytest.raises(DataError, match=r"No mask has a pixel of liver.* grey level 7, which means without"):
        loaded(root, path, "task.levels={liver:[2]}", "task.ignore=7")


def test_masks_of_0_and_255_and_empty_ones_have_nothing_to_learn(root: Path) -> None:
    path = write(root / "own", patients=20, images=1, level=255)
    with pytest.raises(DataError, match=r"level 255, which means without a label.* set task.ignore=null"):
        loaded(root, path)
    loaded(root, path, "task.ignore=null")
    path = write(root / "empty", patients=20, images=1, level=0)
    with pytest.raises(DataError, match=r"No mask has a pixel of foreground: all are background\.$"):
        loaded(root, path)


def test_what_a_segmentation_does_not_support_is_refused_from_the_settings(root: Path) -> None:
    path = write(root / "own", patients=2)
    for words, sentence in (
        (["repeats=2"], "repeats pools class probabilities, which a segmentation has none of"),
        (["folds=all", "split=folds_in_training"], "folds_in_training tests all folds on the same samples"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            settings.check(composed(*QUICK, f"data.path={path}", *words))


def test_pseudo_masks_bring_the_split_of_their_classifier() -> None:
    words = ["model=unet", "data=pseudo_masks", "data.run=abc"]
    assert composed(*words).split.name == "given"
    settings.check(composed(*words))
    settings.check(composed("experiment=paper2/segmentation", "data.run=abc"))
    for split in ("grouped", "kfold", "paper2_random"):
        with pytest.raises(
            ConfigError, match=f"split={split}: data=pseudo_masks keeps the split of the clas"
        ):
            settings.check(composed(*words, f"split={split}"))


def test_contradictions_between_settings_of_pseudo_masks_are_refused_at_once(tmp_path: Path) -> None:
    words = ["run=abc", f"input={tmp_path}", "explain.mask_rule=otsu", "explain.mask_threshold=chosen"]
    with pytest.raises(ConfigError, match=r"(?s)leave out input.*otsu finds a threshold for each map"):
        explain.imported(composed(*words, "pseudo_masks=true", f"folder={tmp_path}", name="explain"))
    wrong = {"mask_rule": "half", "mask_threshold": 1.5, "true_levels": [0]}
    assert list(allowed.faults({"explain": wrong})) == [f"explain.{name}" for name in wrong]
    right = {"mask_rule": "otsu", "mask_threshold": "chosen", "true_levels": [2, 3]}
    assert allowed.faults({"explain": right}) == {}
