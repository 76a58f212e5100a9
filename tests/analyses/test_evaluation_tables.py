"""The tables of an evaluation: written whole or not at all; a faulty file of the run is named."""

import numpy as np
import pandas as pd
import pytest
import yaml
from fake_record import make

from fibrolab import keys
from fibrolab.analyses import evaluation_tables
from fibrolab.errors import ConfigError, DataError, StorageError
from fibrolab.evaluation import patients, predictions, score
from fibrolab.evaluation.measures import catalogue
from fibrolab.reporting import run_page
from fibrolab.runs.trained_run import NEEDED, Run, TrainedRun, read


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "run")


def contents(folder):
    """Every file of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_samples_audit_and_predictions_of_a_run_are_read_together(run):
    found = TrainedRun(run)
    assert found.samples[keys.PARTITION].value_counts().to_dict() == {
        "train": 240,
        "validation": 120,
        "test": 120,
    }
    assert found.samples.loc[found.predictions[keys.SAMPLE_ID], keys.Y_TRUE].to_list() == list(
        found.predictions[keys.Y_TRUE]
    )
    assert (found.manifest_hash, found.audit["verdict"]) == ("made up", "warning")


@pytest.mark.parametrize("name", NEEDED)
def test_a_run_that_lacks_a_file_is_refused_with_the_name_of_the_file(run, name):
    (run / name).unlink()
    with pytest.raises(ConfigError, match=f"left no {name}"):
        evaluation_tables.write(run, resamples=20)


HALF = "name different samples|damaged"
DAMAGES = {
    "half a config": (keys.CONFIG_FILE, lambda text: text[: len(text) // 2] + "\n: [", "is damaged"),
    "no task": (keys.CONFIG_FILE, lambda text: "seed: 0", "it names no task.classes"),
    "half an audit": (keys.AUDIT_FILE, lambda text: text[: len(text) // 2], "is damaged"),
    "no audit": (keys.AUDIT_FILE, lambda text: "{}", "it holds no verdict"),
    "half a manifest": (keys.MANIFEST_FILE, lambda text: text[: len(text) // 2], HALF),
    "no manifest": (keys.MANIFEST_FILE, lambda text: "", "is damaged"),
    "a class in words": (keys.MANIFEST_FILE, lambda text: text[:-2] + "F2\n", "is damaged"),
    "no partitions": (keys.SPLIT_FILE, lambda text: text.replace("partition", "part"), "no column partition"),
    "binary": (keys.SPLIT_FILE, lambda text: "\x00\udcff", "is damaged"),
    "half of the predictions": (keys.PREDICTIONS_FILE, lambda text: text[: len(text) // 2], "cells where"),
    "another's": (keys.PREDICTIONS_FILE, lambda text: text.replace("\n0s", "\n9s"), "240 samples are not"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_and_nothing_is_written(run, damage):
    name, change, words = DAMAGES[damage]
    text = change((run / name).read_text())
    (run / name).write_text(text, errors="surrogateescape")
    before = contents(run)
    with pytest.raises(DataError, match=words) as fault:
        evaluation_tables.write(run, resamples=20)
    assert name in str(fault.value) or keys.MANIFEST_FILE in str(fault.value)
    assert contents(run) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.assign(y_true=(frame["y_true"] + 1) % 5), "240 labels differ"),
        (lambda frame: frame.iloc[:-20], "100 of 120 test samples are predicted"),
        (
            lambda frame: frame.assign(
                partition=frame["partition"].map({"test": "validation", "validation": "test"})
            ),
            "0 of 120 test samples are predicted, 120 others too",
        ),
    ],
)
def test_predictions_of_another_split_or_other_labels_are_refused(run, change, words):
    path = run / keys.PREDICTIONS_FILE
    predictions.write(change(predictions.read(path)), path)
    with pytest.raises(DataError, match=words):
        evaluation_tables.write(run, resamples=20)


def test_the_level_of_an_evaluation_is_recorded_in_the_config_that_the_page_reads(run):
    evaluation_tables.write(run, resamples=30, level=0.8)
    config = yaml.safe_load((run / keys.CONFIG_FILE).read_text())
    assert config["bootstrap"] == {"resamples": 30, "level": 0.8}


def test_an_evaluation_that_fails_leaves_the_tables_of_the_previous_one(run, monkeypatch):
    evaluation_tables.write(run, resamples=20)
    before = contents(run)

    def full(*_, **__):
        raise StorageError("the disk is full")

    monkeypatch.setattr(evaluation_tables.published_results, "table", full)  # the last that is computed
    with pytest.raises(StorageError):
        evaluation_tables.write(run, resamples=40, level=0.8)
    assert contents(run) == before


def test_a_full_disk_leaves_the_tables_of_the_previous_evaluation(run, monkeypatch):
    evaluation_tables.write(run, resamples=20)
    before, written = contents(run), []

    def full(file):
        written.append(file)
        if len(written) == 6:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match=r"endpoints\.csv could not be written: the disk .* is full"):
        evaluation_tables.write(run, resamples=40, level=0.8)
    assert contents(run) == before


def test_mlflow_gets_headline_metrics_and_areas_of_end_points_alone(run):
    scores = evaluation_tables.write(run, resamples=20)
    flat = evaluation_tables.tracked_metrics(scores)
    names = [*catalogue.headline(), "auc_ge_F2", "auc_ge_F4"]
    assert set(flat) == {f"test/{prefix}{name}" for name in names for prefix in ("", "patient_")}
    assert flat["test/auc_ge_F2"] == scores.samples["value"]["auc_ge_F2"]
    assert flat["test/patient_qwk"] == scores.patients["value"]["qwk"]


@pytest.mark.parametrize(("monitor", "mode", "best"), [("val/loss", "min", 1), ("val/qwk", "max", 2)])
def test_the_metrics_of_the_best_epoch_are_those_of_the_kept_weights(run, monitor, mode, best):
    history = pd.DataFrame(
        {
            "epoch": [0, 1, 2],
            "train/loss": [3.0, 2, 1],
            "val/loss": [0.9, 0.5, 0.7],
            "val/qwk": [0.1, 0.2, 0.3],
        }
    )
    opened = Run(run, config={"monitor": monitor, "mode": mode}, history=history)
    expected = {"best/loss": history["val/loss"][best], "best/qwk": history["val/qwk"][best]}
    assert evaluation_tables.best_epoch_metrics(opened) == expected
    assert evaluation_tables.best_epoch_metrics(Run(run, config=opened.config)) == {}


def test_a_run_without_test_predictions_is_refused_with_the_partitions_that_it_has(run):
    frame = predictions.read(run / keys.PREDICTIONS_FILE)
    predictions.write(predictions.select(frame, keys.VALIDATION), run / keys.PREDICTIONS_FILE)
    with pytest.raises(DataError, match="No predictions of partition 'test'; those present: validation"):
        evaluation_tables.write(run, resamples=20)
    assert pd.read_csv(run / keys.SPLIT_FILE)["partition"].eq("test").any()


def test_proportions_of_votes_have_no_losses_and_mean_probabilities_have(run):
    evaluation_tables.write(run, resamples=20)
    vote, mean = (
        pd.read_csv(run / name, index_col="metric") for name in ("patients_vote.csv", patients.PATIENTS_FILE)
    )
    assert vote.loc["log_loss", "note"] == "proportions of votes are not probabilities"
    assert vote.loc[["log_loss", "brier", "ece"], "value"].isna().all()
    assert mean.loc[["log_loss", "brier", "ece"], "value"].notna().all()


def test_training_samples_are_scored_apart_and_change_no_other_table(run):
    evaluation_tables.write(run, resamples=20)
    before = contents(run)
    assert "training.csv" not in before
    frame = predictions.read(run / keys.PREDICTIONS_FILE)
    trained = predictions.select(frame, keys.TEST)
    right = trained[keys.Y_TRUE].to_numpy()
    perfect = pd.DataFrame(np.eye(5)[right], columns=keys.probability_columns(5))
    trained = trained.assign(sample_id="t" + trained[keys.SAMPLE_ID], partition=keys.TRAIN, **perfect)
    predictions.write(pd.concat([trained, frame]), run / keys.PREDICTIONS_FILE)
    evaluation_tables.write(run, resamples=20)
    after = contents(run)
    assert set(TrainedRun(run).predictions[keys.PARTITION]) == {keys.VALIDATION, keys.TEST}
    assert pd.read_csv(run / "training.csv", index_col="metric").loc["accuracy", "value"] == 1.0
    assert {name for name in after if after[name] != before.get(name)} == {"training.csv", "predictions.csv"}
    (sheet,) = run_page.tables(read(run))["training"]
    titles = [column.title for column in sheet.columns]
    assert titles == ["Measure", "Training samples", "Validation samples", "Test samples"]
    assert sheet.lines[0].cells[1].text == "100.0\u00a0%"
    validated = score.score(frame, list(TrainedRun(run).config.task.classes), keys.VALIDATION, resamples=20)
    found = pd.read_csv(run / "validation.csv", index_col="metric")["value"]
    pd.testing.assert_series_equal(found, validated["value"], rtol=1e-9)
    assert [line.cells[0].text for line in sheet.lines] == [
        "Accuracy",
        "Macro AUC",
        "Quadratic weighted kappa",
    ]
