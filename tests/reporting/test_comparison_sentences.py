"""The sentences of a comparison."""

import numpy as np
import pandas as pd
from fake_arms import TASK

from fibrolab.evaluation.comparison.arms import END_POINTS, HEADLINE
from fibrolab.evaluation.comparison.contrasts import ONE_TRAINING
from fibrolab.reporting.comparison_sentences import Comparison, difference_in_words


def row_of(metric="accuracy", value=0.051, low=0.012, high=0.09, p=0.01, needed=np.nan, **more):
    known = {
        "level": "sample",
        "family": HEADLINE,
        "of": "",
        "arm": "hybrid",
        "against": "resnet",
        "note": "",
    }
    numbers = {"metric": metric, "value": value, "low": low, "high": high, "p": p, "p_holm": p}
    return known | numbers | {"needed": needed} | more


def sentence(row, tests=1):
    shown = Comparison(
        "", pd.DataFrame([row] * tests), {}, TASK, [], pd.DataFrame(), "patients", True, 100, 0.95
    )
    return difference_in_words(row, shown).text.replace("\u00a0", " ")


def test_the_better_arm_is_named_for_either_sign_of_the_difference():
    assert (
        sentence(row_of())
        == "Accuracy: hybrid was better than resnet (difference +5.1 points [1.2, 9.0], p = .01)."
    )
    turned = row_of(value=-0.051, low=-0.09, high=-0.012)
    assert (
        sentence(turned)
        == "Accuracy: resnet was better than hybrid (difference +5.1 points [1.2, 9.0], p = .01)."
    )
    errors = row_of("mae", -0.2, -0.3, -0.1, 0.0001)
    assert sentence(errors).endswith(
        "hybrid was better than resnet (difference \u22120.20 [\u22120.30, \u22120.10], p < .001)."
    )


def test_notes_follow_the_finding():
    assert sentence(row_of(note=ONE_TRAINING)).endswith(f"[1.2, 9.0], p = .01); {ONE_TRAINING}.")


def test_arms_that_cannot_be_distinguished_have_a_needed_sample_size():
    row = row_of("auc", 0.012, -0.004, 0.028, 0.3, 483, family=END_POINTS, of="ge_F2")
    assert sentence(row) == (
        "AUC of F2 or worse: hybrid and resnet could not be distinguished "
        "(difference +.012 [\u2212.004, .028], p = .30); "
        "about 480 patients would be needed to detect a difference of this size."
    )
    assert "more than a million patients" in sentence(row | {"needed": 3e6})
    assert sentence(row | {"needed": np.nan}).endswith("p = .30).")
    assert sentence(row | {"needed": np.nan, "note": "too few to tell"}).endswith(
        "p = .30); too few to tell."
    )
    assert sentence(row | {"note": ONE_TRAINING}).endswith(f"of this size; {ONE_TRAINING}.")
    undefined = row_of(p=np.nan, note="not defined in both arms")
    assert sentence(undefined) == "Accuracy: hybrid and resnet cannot be compared: not defined in both arms."


def test_a_corrected_p_follows_the_uncorrected_one():
    row = row_of("auc", 0.441, 0.059, 0.823, 0.03, family=END_POINTS, of="ge_F2", p_holm=0.08)
    assert "(difference +.441 [.059, .823], p = .03, .08 after correction for 3 tests)" in sentence(
        row, tests=3
    )
    assert "p > .99 before and after correction for 3 tests" in sentence(
        row | {"p": 0.995, "p_holm": 1}, tests=3
    )
    assert sentence(row | {"p_holm": 0.03}, tests=1).endswith("[.059, .823], p = .03).")
