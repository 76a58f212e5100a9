"""A trained run: opened by id or folder, read file by file, and its network of the class that was trained."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from compose import composed, prepared, run_folder
from drawn import unrendered
from fake_record import make
from own_data import PHANTOMS
from own_module import Negated
from PIL import Image

from fibrolab import keys
from fibrolab.analyses.evaluating import evaluate
from fibrolab.data.manifest import Manifest
from fibrolab.errors import ConfigError, DataError
from fibrolab.loading import load
from fibrolab.pipeline import run
from fibrolab.runs import TrainedRun, checkpoint, open_run

SMALL = ["preprocess.size=32", "trainer.max_epochs=1", "num_workers=0", "bootstrap.resamples=20"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path, cache: Path) -> Path:
    """The root of a database with one finished run of a user's class."""
    root = prepared(tmp_path_factory.mktemp("trained"), fresh_database, cache)
    own = ["model._target_=own_module.Negated", "trainer.accelerator=cpu", "augment=none"]
    with unrendered():
        run(composed(f"paths.root={root}", *SMALL, *PHANTOMS["phantom"], *own))
    return root


@pytest.fixture(scope="module")
def trained(root: Path) -> TrainedRun:
    return open_run(run_folder(root))


def by_sample(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index(keys.SAMPLE_ID)[[name for name in frame if name.startswith("p_")]]


def test_a_run_is_opened_by_its_id_or_its_folder(root: Path, trained: TrainedRun) -> None:
    run_id = run_folder(root).parent.name
    opened = open_run(run_id, f"sqlite:///{root}/mlruns/mlflow.db")
    assert (opened.run_id, trained.run_id) == (run_id, run_id)
    pd.testing.assert_frame_equal(opened.metrics, trained.metrics)
    assert opened.config.model["_target_"] == "own_module.Negated"
    assert set(opened.metrics["metric"]) >= {"accuracy", "macro_auc", "qwk"}
    assert opened.report.path == opened.folder / keys.REPORT_FILE
    assert len(opened.table("endpoints"))
    assert opened.audit["verdict"] in keys.VERDICTS
    assert len(opened.history)


def test_an_unknown_run_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no run nothing"):
        open_run("nothing", f"sqlite:///{root}/mlruns/mlflow.db")
    with pytest.raises(ConfigError, match="is not a run's folder"):
        open_run(tmp_path / "nowhere")


def test_a_missing_file_is_refused_only_when_it_is_needed(tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    (folder / keys.AUDIT_FILE).unlink()
    found = open_run(folder)
    assert len(found.predictions) == 240
    assert found.samples[keys.PARTITION].value_counts().to_dict() == {
        "train": 240,
        "validation": 120,
        "test": 120,
    }
    with pytest.raises(ConfigError, match=r"left no audit.json"):
        _ = found.audit
    with pytest.raises(ConfigError, match=r"left no metrics.csv"):
        _ = found.metrics
    with pytest.raises(ConfigError, match="kept no network"):
        found.network()
    with pytest.raises(ConfigError, match=r"left no audit.json"):
        open_run(folder, needs=[keys.AUDIT_FILE])


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    (folder / keys.METRICS_FILE).write_text("name,value\n")
    with pytest.raises(DataError, match=r"metrics.csv is damaged \(it has no column metric\)"):
        _ = open_run(folder).metrics


@pytest.mark.parametrize("mark", [{}, {"format": keys.FORMAT - 1}, None])
def test_a_run_of_another_version_is_refused(tmp_path: Path, mark: dict | None) -> None:
    folder = make(tmp_path / "run")
    path = folder / keys.ENVIRONMENT_FILE
    path.unlink() if mark is None else path.write_text(json.dumps(mark))
    with pytest.raises(ConfigError, match="train it again"):
        open_run(folder)


def test_the_network_is_of_the_class_that_was_trained(trained: TrainedRun) -> None:
    assert type(trained.network()) is Negated


def test_an_opened_run_repeats_its_predictions(trained: TrainedRun, cache: Path) -> None:
    found = trained.predict(load(trained.config), cache)
    written = trained.predictions
    assert set(written[keys.PARTITION]) == {keys.VALIDATION, keys.TEST}
    expected = by_sample(written)
    np.testing.assert_allclose(by_sample(found).loc[expected.index], expected, atol=1e-6)
    assert len(found) == len(trained.manifest)


def test_samples_are_predicted_alike_with_and_without_labels(trained: TrainedRun, cache: Path) -> None:
    manifest = load(trained.config).manifest
    some = replace(manifest, table=manifest.table.iloc[:6].reset_index(drop=True))
    bare = replace(some, table=some.table.assign(**{keys.LABEL: keys.UNLABELLED}))
    labelled, unlabelled = trained.predict(some, cache), trained.predict(bare, cache)
    assert (unlabelled[keys.Y_TRUE] == keys.UNLABELLED).all()
    assert (labelled[keys.Y_TRUE] >= 0).all()
    pd.testing.assert_frame_equal(by_sample(labelled), by_sample(unlabelled))


def test_the_checkpoint_suffices_to_predict_a_new_image(trained: TrainedRun, tmp_path: Path) -> None:
    path = shutil.copy(trained.folder / keys.CHECKPOINTS / keys.BEST, tmp_path)
    noise = np.random.default_rng(0).integers(1, 256, (40, 50), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "new.png")
    table = pd.DataFrame({keys.SAMPLE_ID: ["new"], keys.LABEL: [keys.UNLABELLED], keys.IMAGE: ["new.png"]})
    predictor = checkpoint.load(Path(path))
    found = predictor.predict(Manifest(table, ("any", "names"), "elsewhere", tmp_path))
    assert list(found)[: len(trained.predictions.columns)] == list(trained.predictions)
    assert by_sample(found).to_numpy().sum() == pytest.approx(1, abs=1e-6)
    assert predictor.classes == trained.classes
    assert predictor.record["manifest"] == trained.manifest_hash
    assert predictor.record["normalisation"]
    points = trained.table("endpoints").query("level == 'sample' and rule == 'youden'")
    ours = predictor.thresholds["sample"]
    assert {name: rules["youden"] for name, rules in ours.items()} == dict(
        zip(points["endpoint"], points["threshold"], strict=True)
    )
    calibrated = trained.table("calibration").query("level == 'sample' and probabilities == 'temperature'")
    assert predictor.temperature.get("sample", np.nan) == pytest.approx(
        calibrated["temperature"].iloc[0], nan_ok=True
    )


def test_the_last_checkpoint_has_neither_thresholds_nor_temperature(trained: TrainedRun) -> None:
    last = checkpoint.load(trained.folder / keys.CHECKPOINTS / "last.ckpt")
    assert type(last.module) is Negated
    for name in ("thresholds", "temperature"):
        with pytest.raises(ConfigError, match=f"holds no {name}"):
            getattr(last, name)


def test_a_checkpoint_of_another_program_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ConfigError, match="train the run again"):
        checkpoint.load(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="is damaged"):
        checkpoint.load(path)


def test_a_repeated_evaluation_restores_the_record_of_the_checkpoint(root: Path, trained: TrainedRun) -> None:
    path = trained.folder / keys.CHECKPOINTS / keys.BEST
    before = checkpoint.load(path).record
    state = torch.load(path, weights_only=True)
    state[checkpoint.KEY]["thresholds"] = None
    torch.save(state, path)
    config = composed(
        f"paths.root={root}", f"run={trained.run_id}", "bootstrap.resamples=20", name="evaluate"
    )
    with unrendered():
        evaluate(config)
    assert checkpoint.load(path).record == before
    again = TrainedRun(trained.folder).test_set
    assert [each["kind"] for each in again["before"]] == ["train"]
    assert "has been scored once before, in this run (1 training)" in (
        (trained.folder / keys.REPORT_FILE).read_text()
    )


@pytest.mark.parametrize(
    ("trained_with", "accelerated", "wanted"), [(32, False, 8), (4, False, 4), (32, True, 32)]
)
def test_a_cpu_predicts_in_batches_that_stay_in_its_cache(
    trained_with: int, accelerated: bool, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerated)
    predictor = checkpoint.Predictor(Path("best.ckpt"), None, {"batch_size": trained_with})  # type: ignore[arg-type]
    assert predictor.batch_size == wanted
