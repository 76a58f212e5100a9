import json

import fake_run
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.analyses import evaluating, evaluation_tables
from fibrolab.errors import ConfigError
from fibrolab.evaluation import patients, predictions
from fibrolab.reporting import run_page
from fibrolab.reporting.tables import endpoints as endpoint_sheets
from fibrolab.runs import trained_run as runs


def predicted(owners, stages, partition="test", fold=0):
    """One row a sample, of two classes; the probabilities differ from row to row."""
    n = len(owners)
    worse = np.linspace(0.1, 0.9, n)
    return predictions.validated(
        pd.DataFrame(
            {
                "sample_id": [f"{partition}{i}" for i in range(n)],
                "group_id": [owner or f"g{i}" for i, owner in enumerate(owners)],
                "patient_id": owners,
                "site": "",
                "partition": partition,
                "fold": fold,
                "y_true": stages,
                "p_0": 1 - worse,
                "p_1": worse,
            }
        ),
        source="a test",
    )


def test_the_prediction_of_a_patient_is_the_mean_of_its_samples():
    pooled = patients.to_patients(predicted(["a", "b", "a", "a"], [1, 0, 1, 1]))
    assert pooled["patient_id"].tolist() == ["a", "b"]
    assert pooled["p_1"].tolist() == pytest.approx([np.mean([0.1, 0.1 + 1.6 / 3, 0.9]), 0.1 + 0.8 / 3])
    assert pooled["group_id"].tolist() == ["a", "b"]


def test_a_patient_who_changed_stage_keeps_a_row_for_each():
    pooled = patients.to_patients(predicted(["a", "a", "a"], [0, 1, 1]))
    assert pooled[["patient_id", "y_true"]].to_numpy().tolist() == [["a", 0], ["a", 1]]


def test_samples_without_a_patient_are_unchanged():
    frame = predicted(["", "", ""], [0, 0, 1])
    pd.testing.assert_frame_equal(patients.to_patients(frame), frame)
    assert not patients.repeated(frame)


def test_partitions_are_pooled_separately():
    frame = pd.concat([predicted(["a", "a"], [1, 1], "validation"), predicted(["a", "a"], [1, 1])])
    assert patients.to_patients(frame)["partition"].tolist() == ["validation", "test"]


def test_patients_of_one_sample_each_are_not_repeated():
    assert not patients.repeated(predicted(["a", "b"], [0, 1]))
    assert patients.repeated(predicted(["a", "a"], [1, 1]))
    assert not patients.repeated(predicted(["a", "a"], [1, 1], "validation"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(0, 1)), min_size=1, max_size=12))
def test_pooled_predictions_are_valid_and_pooling_twice_changes_nothing(samples):
    frame = predicted([owner for owner, _ in samples], [stage for _, stage in samples])
    pooled = predictions.validated(patients.to_patients(frame), source="a test")
    assert len(pooled) == len({s for s in samples if s[0]}) + sum(not owner for owner, _ in samples)
    pd.testing.assert_frame_equal(patients.to_patients(pooled), pooled)


def patient_rows(rows, owner="a", stage=1):
    """One patient's samples, with these probabilities."""
    rows = np.array(rows, dtype=float)
    frame = predicted([owner] * len(rows), [stage] * len(rows)).drop(columns=["p_0", "p_1"])
    return frame.assign(**{f"p_{k}": column for k, column in enumerate(rows.T)})


def pooled(rows, how, **settings):
    """The probabilities of that patient."""
    (answer,) = predictions.probabilities(patients.to_patients(patient_rows(rows), how, **settings))
    return answer


def test_the_maximum_is_the_sample_with_the_highest_expected_stage():
    rows = [[0.8, 0.1, 0.1], [0.1, 0.5, 0.4], [0.0, 0.9, 0.1]]  # expected stages .3, 1.3 and 1.1
    assert pooled(rows, "max").tolist() == rows[1]


def test_the_maximum_of_unordered_classes_is_the_most_confident_sample():
    rows = [[0.8, 0.1, 0.1], [0.1, 0.5, 0.4], [0.0, 0.9, 0.1]]
    assert pooled(rows, "max", ordered=False).tolist() == rows[2]


def test_a_vote_is_the_proportion_of_samples_predicted_as_a_class():
    rows = [[0.6, 0.4, 0.0], [0.0, 0.6, 0.4], [0.1, 0.5, 0.4]]
    assert pooled(rows, "vote") == pytest.approx([1 / 3, 2 / 3, 0], abs=1e-6)


def test_a_tied_vote_goes_to_the_class_with_the_higher_mean():
    rows = [[0.55, 0.45], [0.05, 0.95]]
    assert pooled(rows, "vote").argmax() == 1
    assert pooled(rows[::-1], "vote").argmax() == 1


def test_patients_of_equal_votes_tie_whatever_the_confidence_of_their_samples():
    confident, uncertain = [[0.1, 0.9], [0.0, 1.0]], [[0.4, 0.6], [0.45, 0.55]]
    assert pooled(confident, "vote").tolist() == pooled(uncertain, "vote").tolist() == [0, 1]
    assert pooled([confident[0], [0.9, 0.1]], "vote") == pytest.approx([0.5, 0.5], abs=1e-5)


def test_a_pooled_row_has_the_names_of_the_first_sample():
    frame = predicted(["b", "a", "b", "", "a"], [1, 0, 1, 1, 0])
    named = [keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.Y_TRUE]
    for how in patients.POOLINGS:
        found = patients.to_patients(frame, how)
        assert found[named].to_numpy().tolist() == [
            ["test0", "b", "b", 1],
            ["test1", "a", "a", 0],
            ["test3", "g3", "", 1],
        ]
        assert found.loc[2, ["p_0", "p_1"]].tolist() == frame.loc[3, ["p_0", "p_1"]].tolist()


def test_an_unknown_pooling_or_level_is_refused_with_what_is_allowed():
    frame = predicted(["a"], [1])
    with pytest.raises(ConfigError, match=r"there is no 'median'\. It is one of: max, mean, vote"):
        patients.to_patients(frame, "median")
    with pytest.raises(ConfigError, match="It is one of: patient, patient max, patient vote, sample"):
        patients.at_level(frame, "image")


def test_a_level_gives_the_samples_or_pools_them():
    frame = predicted(["a", "a"], [1, 1])
    pd.testing.assert_frame_equal(patients.at_level(frame, "sample"), frame)
    for level, how in list(patients.LEVELS.items())[1:]:
        pd.testing.assert_frame_equal(patients.at_level(frame, level), patients.to_patients(frame, how))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(0, 1)), min_size=1, max_size=12),
    st.sampled_from(patients.POOLINGS),
    st.booleans(),
)
def test_every_pooling_gives_valid_predictions_in_the_same_rows_as_the_mean(samples, how, ordered):
    frame = predicted([owner for owner, _ in samples], [stage for _, stage in samples])
    found = predictions.validated(patients.to_patients(frame, how, ordered), source="a test")
    mean = patients.to_patients(frame)
    pd.testing.assert_frame_equal(found[list(predictions.COLUMNS)], mean[list(predictions.COLUMNS)])
    probabilities = predictions.probabilities(found)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-12)


@pytest.fixture
def run(tmp_path):
    """A run of three images a patient, before its evaluation."""
    folder = fake_run.make(tmp_path / "run")
    frame = predictions.read(folder / keys.PREDICTIONS_FILE)
    first = frame.groupby(keys.GROUP_ID)[keys.Y_TRUE].transform("first")  # a patient has one stage
    frame = frame.assign(patient_id="p" + frame[keys.GROUP_ID], y_true=first)
    predictions.write(frame, folder / keys.PREDICTIONS_FILE)
    split = pd.read_csv(folder / keys.SPLIT_FILE, dtype=str)
    manifest = split[[keys.SAMPLE_ID]].assign(patient_id="p" + split[keys.GROUP_ID], y_true=[*first, *first])
    manifest.to_csv(folder / keys.MANIFEST_FILE, index=False)
    config = yaml.safe_load((folder / keys.CONFIG_FILE).read_text())
    config["task"] |= {"ordered": True, "endpoints": {"ge_F2": 2, "ge_F4": 4}}
    (folder / keys.CONFIG_FILE).write_text(json.dumps(config))
    return folder


def test_a_run_is_scored_by_sample_and_by_patient(run):
    scores = evaluation_tables.write(run, resamples=30)
    test = predictions.select(patients.to_patients(predictions.read(run / keys.PREDICTIONS_FILE)), "test")
    right = predictions.probabilities(test).argmax(axis=1) == test["y_true"]
    written = pd.read_csv(run / patients.PATIENTS_FILE, index_col="metric")
    assert written.loc["accuracy", "value"] == right.mean()
    assert list(written) == list(pd.read_csv(run / keys.METRICS_FILE, index_col="metric"))
    flat = evaluation_tables.tracked_metrics(scores)
    assert flat["test/patient_accuracy"] == right.mean()
    assert flat["test/accuracy"] == scores.samples.loc["accuracy", "value"] != right.mean()
    assert flat["test/patient_auc_ge_F2"] == written.loc["auc_ge_F2", "value"]


def test_the_baseline_of_patients_counts_each_of_them_once(run):
    evaluation_tables.write(run, resamples=20)
    manifest = pd.read_csv(run / keys.MANIFEST_FILE).assign(
        partition=pd.read_csv(run / keys.SPLIT_FILE)["partition"]
    )
    once = manifest.drop_duplicates(["patient_id", "partition"])
    commonest = once.loc[once["partition"] == "train", "y_true"].mode()[0]
    frequency = (once.loc[once["partition"] == "test", "y_true"] == commonest).mean()
    written = pd.read_csv(run / patients.PATIENTS_FILE, index_col="metric")
    assert written.loc["accuracy", "baseline"] == pytest.approx(frequency)


def test_both_levels_are_printed_and_reported(run, capsys):
    evaluation_tables.write(run, resamples=20)
    evaluating.announce(runs.read(run), "0123", "sqlite:///mlflow.db")
    printed = capsys.readouterr().out
    assert "Test, by patient" in printed
    text = run_page.write(run).read_text()
    for words in ("test patients", "test samples", "End point", "F2 or worse", "by patient", "by sample"):
        assert words in text


def test_the_accuracy_of_an_end_point_has_its_own_baseline(run):
    evaluation_tables.write(run, resamples=20)
    for sheet in endpoint_sheets.sheets(runs.read(run))[1:]:
        titles = [column.title for column in sheet.columns]
        assert titles[titles.index("Baseline") + 1] == "Accuracy"


def test_tables_of_patients_are_removed_if_no_patient_has_several_samples(run):
    (run / patients.PATIENTS_FILE).write_text("left by an earlier evaluation")
    frame = predictions.read(run / keys.PREDICTIONS_FILE).assign(patient_id="")
    predictions.write(frame, run / keys.PREDICTIONS_FILE)
    assert evaluation_tables.write(run, resamples=20).patients is None
    assert not (run / patients.PATIENTS_FILE).exists()


def test_a_run_without_end_points_is_scored(run):
    config = yaml.safe_load((run / keys.CONFIG_FILE).read_text())
    del config["task"]["endpoints"]
    (run / keys.CONFIG_FILE).write_text(json.dumps(config))
    assert not any("ge_" in name for name in evaluation_tables.write(run, resamples=20).samples.index)
