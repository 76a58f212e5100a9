"""Decision rules of a run: answers to probabilities, and patients from samples."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.evaluation.probabilities import calibration, conformal
from fibrolab.runs import answering
from fibrolab.runs.answering import Rules

CLASSES = ("F0", "F1", "F2")


def rules(**changes: object) -> Rules:
    known = {
        "classes": CLASSES,
        "ordered": True,
        "endpoints": {"ge_F1": 1, "ge_F2": 2},
        "thresholds": {"ge_F1": 0.5},
        "temperature": 2.0,
        "alpha": 0.1,
        "limit": 0.6,
    }
    return Rules(**(known | changes))  # type: ignore[arg-type]


def test_answers_apply_every_rule() -> None:
    chances = np.array([[0.7, 0.2, 0.1], [0.1, 0.4, 0.5]])
    found = rules().answers(chances)
    assert found["predicted"].tolist() == ["F0", "F2"]
    scaled = calibration.scaled(chances, 2.0)
    assert found["confidence"].tolist() == pytest.approx([scaled[0, 0], scaled[1, 2]])
    assert found["prediction_set"].tolist() == ["F0", "F1 F2"]  # mass before F1: 0.7 and 0.5
    assert found["ge_F1"].tolist() == pytest.approx([0.3, 0.9])
    assert found["ge_F1_positive"].tolist() == [False, True]
    assert "ge_F2_positive" not in found  # validation gave no threshold


def test_classes_whose_names_hold_blanks_can_be_told_apart_in_a_set() -> None:
    named = rules(classes=("no lesion", "cyst", "simple cyst"), ordered=False, limit=0.9)
    (found,) = named.answers(np.array([[0.4, 0.05, 0.55]]))["prediction_set"]
    assert found == "no lesion, simple cyst"
    assert named.members(found) == ["no lesion", "simple cyst"]
    assert rules().members("F1 F2") == ["F1", "F2"]
    assert rules().members("") == []


def test_without_validation_there_is_neither_set_nor_temperature() -> None:
    found = rules(limit=math.nan, temperature=math.nan, thresholds={}).answers(np.array([[0.7, 0.2, 0.1]]))
    assert found["prediction_set"].tolist() == [""]
    assert found["confidence"].tolist() == [0.7]
    assert rules(limit=math.inf).answers(np.full((1, 3), 1 / 3))["prediction_set"].tolist() == ["F0 F1 F2"]


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_sets_hold_the_predicted_class_and_are_those_of_the_evaluation(seed: int, limit: float) -> None:
    chances = np.random.default_rng(seed).dirichlet(np.ones(3), 20)
    found = rules(limit=limit).answers(chances)
    inside = conformal.mass_before(chances) <= limit
    assert [row.split() for row in found["prediction_set"]] == [
        [name for name, held in zip(CLASSES, row, strict=True) if held] for row in inside
    ]
    assert all(name in row for name, row in zip(found["predicted"], found["prediction_set"], strict=True))


def test_patients_are_the_mean_of_their_answered_samples_by_visit() -> None:
    chances = np.array([[0.8, 0.1, 0.1], [0.4, 0.4, 0.2], [math.nan] * 3, [0.0, 0.0, 1.0], [0.2, 0.2, 0.6]])
    names = {keys.SAMPLE_ID: list("abcde"), keys.PATIENT_ID: ["1", "1", "1", "1", ""]}
    samples = pd.DataFrame(names | {keys.VISIT_ID: ["x", "x", "x", "y", ""]})
    samples[["p_F0", "p_F1", "p_F2"]] = chances
    found = answering.of_patients(samples, rules())
    assert found[[keys.PATIENT_ID, keys.VISIT_ID, "n"]].to_numpy().tolist() == [["1", "x", 2], ["1", "y", 1]]
    assert found["p_F0"].tolist() == pytest.approx([0.6, 0.0])
    assert found["predicted"].tolist() == ["F0", "F2"]


def test_disagreement_counts_networks_of_another_class() -> None:
    each = np.array([[[0.9, 0.1]], [[0.8, 0.2]], [[0.1, 0.9]]])
    assert answering.disagreement(each).tolist() == pytest.approx([1 / 3])


def test_patients_who_may_be_one_person_are_named() -> None:
    ids = pd.DataFrame({"patient_id": ["007", "7", "", "", "P-1", "007", "p1", "8", "p-1"]})
    assert "front: 007 and 7, and 1 more. They are answered as several patients" in answering.spellings(ids)
    assert answering.spellings(ids.iloc[[0, 2, 3, 5, 7]]) == ""
