"""Readers against a model: agreement and areas as scikit-learn computes them, and undefined ones."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score, roc_curve

from fibrolab.evaluation.comparison import reader_agreement
from fibrolab.evaluation.comparison.reader_agreement import Readings

CLASSES = ("F0", "F1", "F2", "F3", "F4")
POINTS = {"ge_F2": 2, "ge_F4": 4}


def read(n: int = 60, with_truth: bool = True, groups: int = 60) -> Readings:
    """A reader and a model that both mistake neighbouring stages."""
    random = np.random.default_rng(4)
    truth = np.arange(n) % 5
    stages = np.clip(truth + random.choice([-1, 0, 0, 1], n), 0, 4)
    distance = np.abs(np.arange(5) - truth[:, None] + random.normal(0, 0.8, (n, 1)))
    scores = np.exp(-distance)
    chances = scores / scores.sum(axis=1, keepdims=True)
    return Readings("A", stages, chances, np.arange(n) % groups, truth if with_truth else None)


def test_agreement_and_areas_are_those_of_scikit_learn() -> None:
    given = read()
    assert given.labels is not None
    found = reader_agreement.table(given, CLASSES, POINTS, resamples=200)
    table = found.set_index(["metric", "of", "against"]).sort_index()
    model = given.probabilities.argmax(axis=1)
    for names, first, second in (
        (("reader", "model"), given.stages, model),
        (("reader", "truth"), given.stages, given.labels),
        (("model", "truth"), model, given.labels),
    ):
        row = table.loc[("qwk", *names)]
        assert row["value"] == pytest.approx(cohen_kappa_score(first, second, weights="quadratic"))
        assert row["low"] < row["value"] < row["high"]
    for point, lowest in POINTS.items():
        ill = given.labels >= lowest
        areas = [
            roc_auc_score(ill, score) for score in (given.stages, given.probabilities[:, lowest:].sum(1))
        ]
        assert table.loc[(f"auc_{point}", "reader", "truth"), "value"] == pytest.approx(areas[0])
        assert table.loc[(f"auc_{point}", "model", "truth"), "value"] == pytest.approx(areas[1])
        test = table.loc[(f"auc_difference_{point}", "reader", "model")]
        assert test["value"] == pytest.approx(areas[0] - areas[1])
        assert test["low"] < test["value"] < test["high"]
        assert 0 < test["p"] <= 1
    assert set(table["n"]) == {60}


def test_curves_pass_through_the_corners_of_scikit_learn() -> None:
    given = read()
    assert given.labels is not None
    found = reader_agreement.curves(given, 2)
    x, y, _ = roc_curve(given.labels >= 2, given.stages, drop_intermediate=False)
    np.testing.assert_allclose(found["reader"], np.stack([x, y], axis=1))
    assert found["model"][0] == (0.0, 0.0)
    assert found["model"][-1] == (1.0, 1.0)
    assert reader_agreement.curves(read(n=2), 2) == {}


def test_files_of_one_patient_are_one_unit() -> None:
    alone, together = (
        reader_agreement.table(read(groups=groups), CLASSES, POINTS, resamples=200) for groups in (60, 15)
    )
    assert (alone["groups"].iloc[0], together["groups"].iloc[0]) == (60, 15)
    np.testing.assert_allclose(alone["value"], together["value"])
    assert (alone["low"].round(6) != together["low"].round(6)).any()


def test_what_cannot_be_estimated_has_a_note() -> None:
    found = reader_agreement.table(read(n=1, with_truth=False), CLASSES, POINTS, resamples=20)
    assert found["low"].isna().all()
    assert found["note"].str.len().gt(0).all()
    nominal = reader_agreement.table(read(with_truth=False), CLASSES, {}, ordered=False, resamples=100)
    assert nominal[["metric", "of", "against"]].to_numpy().tolist() == [["accuracy", "reader", "model"]]
