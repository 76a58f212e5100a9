from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_run
import fake_tables
import numpy as np
import pandas as pd
import pytest

from fibrolab import keys
from fibrolab.reporting import run_sentences, run_summary
from fibrolab.runs.trained_run import Run

CONFIG = {"tuned_by": [], "task": {"classes": list(fake_run.CLASSES), "endpoints": fake_tables.ENDPOINTS}}


def cautions(**found: pd.DataFrame) -> list[str]:
    return [caution.text for caution in run_sentences.cautions(Run(Path(), config=CONFIG, tables=found))]


def measured(**columns: list[float]) -> Run:
    table = pd.DataFrame({"metric": ["accuracy", "macro_auc", "qwk"], "value": 0.8} | columns)
    return Run(Path(), config=CONFIG, metrics=table)


def test_intervals_with_low_coverage_are_named() -> None:
    named = [caution.text for caution in run_sentences.cautions(measured(coverage=[0.894, 0.94, np.nan]))]
    assert named == [
        "Some 95\u00a0% confidence intervals are too narrow: in the most similar simulated studies they "
        "contained "
        "the true value in only 89.4\u00a0% (Accuracy)."
    ]


def test_intervals_of_patients_with_low_coverage_are_in_the_same_sentence() -> None:
    samples = measured(coverage=[0.894, 0.94, np.nan])
    assert samples.metrics is not None
    patients = samples.metrics.assign(coverage=[0.94, 0.921, np.nan])
    (text,) = [caution.text for caution in run_sentences.cautions(replace(samples, patients=patients))]
    assert text.endswith("only 89.4\u00a0% (Accuracy) and 92.1\u00a0% (Macro AUC by patient).")


def test_a_baseline_not_exceeded_by_patient_is_named_so() -> None:
    run = measured(low=[0.7] * 3, high=[0.9] * 3, baseline=[0.3] * 3)
    assert run_sentences.cautions(run) == []
    assert run.metrics is not None
    patients = run.metrics.assign(low=[0.2, 0.7, 0.7])
    (text,) = [caution.text for caution in run_sentences.cautions(replace(run, patients=patients))]
    assert text.startswith(
        "Accuracy by patient, 80.0\u00a0% [20.0, 90.0], is not clearly better than its baseline"
    )


def test_few_validation_groups_have_a_caution_on_thresholds() -> None:
    frame = fake_run.predicted(fake_run.CLASSES, 120, skill=2.0)
    keep = (frame[keys.PARTITION] == keys.TEST) | (frame.index < 45)
    texts = [
        each.text for each in run_sentences.cautions(Run(Path(), config=CONFIG, predictions=frame[keep]))
    ]
    assert texts == [
        "The validation set contains only 15 independent units (patients or clusters): thresholds and "
        "temperatures are imprecise with fewer than 30."
    ]


def test_groups_of_unequal_size_count_as_fewer() -> None:
    frame = fake_run.predicted(fake_run.CLASSES, 120, skill=2.0)  # 40 groups of three
    group = frame[keys.GROUP_ID].where((frame.index < 120) | (frame.index % 120 < 60), "one")
    uneven = Run(Path(), config=CONFIG, predictions=frame.assign(**{keys.GROUP_ID: group}))
    texts = [each.text for each in run_sentences.cautions(uneven)]
    assert texts == [
        "The test set contains 21 independent units (patients or clusters), equivalent to 3 of equal size: "
        "confidence intervals are approximate with fewer than 30."
    ]


def test_without_recorded_coverage_there_is_no_caution() -> None:
    assert run_sentences.cautions(measured()) == []


@pytest.mark.parametrize(("n", "named"), [(84, True), (87, True), (90, False)])
def test_few_groups_have_a_caution(n: int, named: bool) -> None:
    frame = fake_run.predicted(fake_run.CLASSES, n, skill=2.0)
    texts = [
        caution.text for caution in run_sentences.cautions(Run(Path(), config=CONFIG, predictions=frame))
    ]
    assert any(f"only {n // 3} independent units" in text for text in texts) is named


def test_end_points_without_a_threshold_are_named_with_rule_and_level() -> None:
    table = fake_tables.endpoints()
    assert cautions(endpoints=table) == []
    lost = table["endpoint"].isin(["ge_F2", "ge_F4"]) & (table["rule"] == "specificity")
    table.loc[lost & (table["level"] == "patient"), ["threshold", "note"]] = [np.nan, "it holds no case"]
    assert cautions(endpoints=table) == [
        "On the validation set by patient (mean of the probabilities), no threshold could be chosen by "
        "specificity of 90\u00a0% for F2 or worse and F4 (it holds no case)."
    ]


@pytest.mark.parametrize(("slope", "word"), [(0.6, "over"), (1.6, "under"), (0.9, ""), (1.1, "")])
def test_only_slopes_that_differ_significantly_and_relevantly_are_named(slope: float, word: str) -> None:
    table = fake_tables.calibration()
    theirs = (table["measure"] == "slope_ge_F2") & (table["level"] == "patient")
    table = table[theirs & (table["probabilities"] == "as predicted")]
    table = table.assign(value=slope, low=slope - 0.05, high=slope + 0.05)
    expected = [
        f"The predicted probabilities are {word}-confident: the calibration slope (ideally 1) is {slope:.2f} "
        f"[{slope - 0.05:.2f}, {slope + 0.05:.2f}] for F2 or worse (by patient, mean)."
    ]
    assert cautions(calibration=table) == (expected if word else [])
    assert cautions(calibration=table.assign(low=0.5, high=2.0)) == []


def test_slopes_after_temperature_scaling_have_no_caution() -> None:
    table = fake_tables.calibration().assign(probabilities="temperature", value=0.5, low=0.4, high=0.6)
    assert cautions(calibration=table) == []


def test_sets_below_their_nominal_coverage_are_named_by_class() -> None:
    table = fake_tables.conformal(fake_run.CLASSES).assign(high=0.99)
    assert cautions(conformal=table) == []
    short = (table["level"] == "sample") & (table["stage"] == "F1") & (table["alpha"] == 0.1)
    table.loc[short, ["coverage", "high"]] = [0.61, 0.73]
    assert cautions(conformal=table) == [
        "Conformal prediction sets with a nominal coverage of 90\u00a0% contain the true class for only "
        "61.0\u00a0% of F1."
    ]
    table["level"] = table["level"].map({"sample": "patient", "patient": "sample"})
    assert cautions(conformal=table) == [
        "Conformal prediction sets (by patient, mean) with a nominal coverage of 90\u00a0% contain the true "
        "class for only 61.0\u00a0% of F1."
    ]


ORDERED = {"classes": list(fake_run.CLASSES), "endpoints": fake_tables.ENDPOINTS, "ordered": True}
METRICS = pd.DataFrame({"metric": ["accuracy"], "value": 0.617, "low": 0.477, "high": 0.74, "baseline": 0.2})


def results(task: dict[str, Any] = ORDERED, **found: Any) -> list[str]:
    return run_sentences.results(Run(Path(), config={"task": task}, **found))


def test_results_in_words_are_by_sample_if_no_patient_is_known() -> None:
    assert results(metrics=METRICS) == [
        "The predicted stage was correct for 61.7\u00a0% [47.7,\u00a074.0] of the test samples; the best "
        "accuracy "
        "reachable without a model was 20.0\u00a0% (majority class)."
    ]


def test_patients_come_before_samples_and_end_points_follow() -> None:
    found = results(metrics=METRICS, patients=METRICS, tables={"endpoints": fake_tables.endpoints()})
    assert len(found) == 1 + len(fake_tables.ENDPOINTS)
    assert (
        "of the test patients; predicting the most frequent class of the training set was correct for 20.0"
        in (found[0])
    )
    assert "without a model" not in found[0]  # the audit's higher baselines are of samples
    assert found[1] == (
        "F2 or worse: sensitivity 78.0\u00a0% [73.0,\u00a083.0] and specificity 78.0\u00a0% "
        "[73.0,\u00a083.0] "
        "by patient."
    )


def test_an_end_point_without_a_threshold_has_no_result_in_words() -> None:
    table = fake_tables.endpoints()
    lost = (table["endpoint"] == "ge_F3") & (table["rule"] == "youden")
    table.loc[lost, ["value", "low", "high"]] = np.nan
    found = results(metrics=METRICS, tables={"endpoints": table})
    assert [sentence.partition(":")[0] for sentence in found[1:]] == ["F2 or worse", "F4"]


def test_unordered_classes_are_not_called_stages() -> None:
    (sentence,) = results({"classes": ["cyst", "HCC", "FFS"], "ordered": False}, metrics=METRICS)
    assert sentence.startswith("The predicted class was correct for")


@pytest.mark.parametrize("table", [None, METRICS.assign(value=np.nan), METRICS.assign(metric="qwk")])
def test_without_an_accuracy_there_is_no_result_in_words(table: pd.DataFrame | None) -> None:
    assert results(metrics=table) == []


def test_random_initial_weights_are_named_by_branch() -> None:
    branches = {
        "a": {"name": "resnet50", "pretrained": False, "weights": None},
        "b": {"name": "vgg16", "pretrained": True, "weights": None},
        "c": {"name": "tiny", "pretrained": False, "weights": "run:7"},
        "d": {"name": "own", "pretrained": False, "_target_": "own.Net"},
    }
    run = Run(Path(), config={**CONFIG, "model": {"branches": branches}})
    (caution,) = run_sentences.cautions(run)
    assert "started from random weights in resnet50 (a); with published weights" in caution.text
    assert not caution.grave


def test_a_trial_of_the_command_is_no_result() -> None:
    run = Run(Path(), config={**CONFIG, "trainer": {"fast_dev_run": True}})
    (caution,) = run_sentences.cautions(run)
    assert caution.grave
    assert caution.text.endswith("no number below is a result.")
    assert run_summary.markdown(run).startswith("**A test of the command, not a result.**")


@pytest.mark.parametrize(
    ("before", "sentence"),
    [
        ([], "This test set has been scored for the first time in this tracking database."),
        ([("train", "me")], "This test set has been scored once before, in this run (1 training)."),
        (
            [("train", "a"), ("evaluate", "a")],
            "This test set has been scored twice before, in 1 run (1 training and 1 repeated evaluation).",
        ),
        (
            [("train", "a"), ("train", "b"), ("external", "c"), ("stack", "me")],
            "This test set has been scored 4 times before, in 4 runs (2 trainings, 1 external evaluation and "
            "1 stacked model).",
        ),
        (
            None,
            "How often this test set has been scored before is not known, because the tracking server was "
            "away.",
        ),
    ],
)
def test_earlier_scorings_of_the_test_set_are_counted(
    before: list[tuple[str, str]] | None, sentence: str
) -> None:
    entries = None if before is None else [{"kind": kind, "run": run, "time": ""} for kind, run in before]
    run = replace(Run(Path(), config=CONFIG), test_set={"run": "me", "before": entries})
    assert run_sentences.scored_before(run) == sentence
    texts = [caution.text for caution in run_sentences.cautions(run)]
    assert sentence in run_summary.markdown(run)
    if before == []:
        assert not texts
    else:
        (text,) = texts
        assert text.startswith(sentence)
        assert ("Choosing among models" in text) == bool(before)


def test_a_run_that_records_no_ledger_has_no_sentence_on_it() -> None:
    assert run_sentences.scored_before(Run(Path(), config=CONFIG)) == ""
