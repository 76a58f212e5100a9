"""Rules on published numbers: silent on consistent tables, and each finds the fault planted for it."""

import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import fake_published
import numpy as np
import pandas as pd
import pytest

from fibrolab.evaluation.published.check import RULES, check
from fibrolab.evaluation.published.findings import Finding

Table = pd.DataFrame
SEEDS = range(12)


def table(*rows: dict[str, str]) -> Table:
    return pd.DataFrame(list(rows)).fillna("")


def end_point(*rows: dict[str, str], n: str = "17", positive: str = "") -> Table:
    known = {"arm": "a", "task": "F4", "cohort": "test", "n": n, "positive": positive, "classes": "2"}
    return table(*(known | row for row in rows))


@pytest.mark.parametrize(
    "make", [fake_published.end_point, fake_published.stages, fake_published.unknown_positives]
)
def test_consistent_tables_have_no_impossible_number(make: Callable[[int], Table]) -> None:
    found = [
        (seed, finding) for seed in SEEDS for finding in check(make(seed)) if finding.kind != "improbable"
    ]
    assert not found


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_documented() -> None:
    """Intervals are those of four methods for proportions, plain and logit DeLong's for AUCs."""
    seeds = range(100, 250)
    tables = {seed: fake_published.end_point(seed) for seed in seeds}
    tables |= {-seed: fake_published.stages(seed) for seed in seeds[:50]}
    intervals = sum(int((each["low"] != "").sum()) for each in tables.values())
    counts = Counter((finding.rule, finding.kind) for each in tables.values() for finding in check(each))
    assert not [rule for rule, kind in counts if kind != "improbable"]
    assert counts["interval and n", "improbable"] <= 0.01 * intervals
    assert counts["mixed units", "improbable"] <= 0.01 * len(seeds)


def place(found: Table, **cells: str) -> int:
    """Return the index of the first row with these cells."""
    fits = pd.Series(data=True, index=found.index)
    for name, cell in cells.items():
        fits &= found[name.rstrip("_")] == cell
    return int(found.index[fits][0])


def moved(found: Table, by: float, **cells: str) -> tuple[Table, int]:
    row = place(found, **cells)
    found = found.copy()
    value = float(found.loc[row, "value"]) + by
    found.loc[row, "value"] = f"{value:.3f}" if "." in found.loc[row, "value"] else f"{value:.0f}"
    return found, row


def beyond_the_range(seed: int) -> tuple[Table, int]:
    return moved(fake_published.end_point(seed), 1.1, metric="f1", arm="arm1")


def outside_its_interval(seed: int) -> tuple[Table, int]:
    found, row = moved(fake_published.end_point(seed), 0, metric="auc", arm="arm1")
    found.loc[row, "low"] = f"{float(found.loc[row, 'value']) + 0.01:.3f}"
    return found, row


def half_a_sample(seed: int) -> tuple[Table, int]:
    found = fake_published.end_point(seed)
    row = place(found, metric="sensitivity", arm="arm1")
    positive = int(found.loc[row, "positive"])
    hits = round(float(found.loc[row, "value"]) * positive)
    found.loc[row, "value"] = f"{(min(hits, positive - 1) + 0.5) / positive:.3f}"
    return found, row


def wrong_ratio(seed: int) -> tuple[Table, int]:
    return moved(fake_published.end_point(seed), 0.5, metric="lr_minus", arm="arm1")


def wrong_npv(seed: int) -> tuple[Table, int]:
    found = fake_published.end_point(seed)
    npv = float(found.loc[place(found, metric="npv", arm="arm1"), "value"])
    return moved(found, -0.05 if npv > 0.5 else 0.05, metric="npv", arm="arm1")


def wrong_f1_without_precision(seed: int) -> tuple[Table, int]:
    found = fake_published.end_point(seed)
    return moved(found[found["metric"] != "precision"].reset_index(drop=True), -0.02, metric="f1", arm="arm1")


def one_more_in_a_cell(seed: int) -> tuple[Table, int]:
    return moved(fake_published.stages(seed), 3, metric="confusion", class_="F1", predicted="F2")


def wrong_accuracy(seed: int) -> tuple[Table, int]:
    return moved(fake_published.stages(seed), -0.05, metric="accuracy", fold="pooled")


def specificity_that_is_precision(seed: int) -> tuple[Table, int]:
    found = fake_published.stages(seed)
    row = -1
    for name in fake_published.CLASSES:
        row = place(found, metric="specificity", fold="pooled", class_=name)
        found.loc[row, "value"] = found.loc[
            place(found, metric="precision", fold="pooled", class_=name), "value"
        ]
    return found[found["metric"] != "confusion"].reset_index(drop=True), row


def best_class_as_the_average(seed: int) -> tuple[Table, int]:
    found = fake_published.stages(seed)
    pooled = found[(found["fold"] == "pooled") & (found["metric"] == "sensitivity")]
    best = pooled.loc[pooled["class"] != "", "value"].astype(float).max()
    row = place(found, metric="sensitivity", fold="pooled", class_="")
    found.loc[row, "value"] = f"{best:.3f}"
    return found, row


def wrong_macro_average(seed: int) -> tuple[Table, int]:
    return moved(fake_published.stages(seed), -0.03, metric="macro_precision", fold="2")


def wrong_weighted_average(seed: int) -> tuple[Table, int]:
    return moved(fake_published.stages(seed), 0.03, metric="weighted_f1", fold="2")


def f1_above_precision_and_sensitivity(seed: int) -> tuple[Table, int]:
    return moved(fake_published.stages(seed), 0.1, metric="f1", class_="", fold="3")


def wrong_mean_of_folds(seed: int) -> tuple[Table, int]:
    return moved(fake_published.stages(seed), 0.03, metric="accuracy", fold="mean")


def wrong_sd_of_folds(seed: int) -> tuple[Table, int]:
    found = fake_published.stages(seed)
    row = place(found, metric="accuracy", fold="mean")
    found.loc[row, "sd"] = f"{3 * float(found.loc[row, 'sd']) + 0.02:.3f}"
    return found, row


def second_value(seed: int) -> tuple[Table, int]:
    found = fake_published.end_point(seed)
    again, row = moved(found, 0.02, metric="balanced_accuracy", arm="arm2")
    return pd.concat([found, again.loc[[row]]], ignore_index=True), len(found)


def wrong_difference(seed: int) -> tuple[Table, int]:
    return moved(fake_published.end_point(seed), 0.02, against="arm1")


def wrong_sum(seed: int) -> tuple[Table, int]:
    return moved(fake_published.stages(seed), 1, metric="count", class_="", fold="pooled")


def images_for_patients(seed: int) -> tuple[Table, int]:
    """Make the interval of one arm that of five images a patient."""
    found = fake_published.end_point(seed)
    row = place(found, metric="auc", arm="arm1")
    value, low, high = (float(found.loc[row, name]) for name in ("value", "low", "high"))
    found.loc[row, ["low", "high"]] = [
        f"{value - (value - low) / math.sqrt(5):.3f}",
        f"{value + (high - value) / math.sqrt(5):.3f}",
    ]
    return found, row


def copied_interval(seed: int) -> tuple[Table, int]:
    found = fake_published.end_point(seed)
    one, other = (place(found, metric="auc", arm=arm) for arm in ("arm1", "arm2"))
    found.loc[other, ["low", "high"]] = found.loc[one, ["low", "high"]]
    return found, other


PLANTED: list[tuple[Callable[[int], tuple[Table, int]], str, float]] = [  # with the proportion to be found
    (beyond_the_range, "range", 1.0),
    (outside_its_interval, "own interval", 1.0),
    (half_a_sample, "proportion", 1.0),
    (wrong_ratio, "identity", 1.0),
    (wrong_npv, "identity", 1.0),
    (wrong_f1_without_precision, "2 x 2 table", 0.9),
    (one_more_in_a_cell, "confusion matrix", 1.0),
    (wrong_accuracy, "accuracy", 1.0),
    (specificity_that_is_precision, "accuracy", 1.0),
    (best_class_as_the_average, "unnamed average", 1.0),
    (wrong_macro_average, "class average", 1.0),
    (wrong_weighted_average, "class average", 1.0),
    (f1_above_precision_and_sensitivity, "F1", 1.0),
    (wrong_mean_of_folds, "folds", 1.0),
    (wrong_sd_of_folds, "folds", 1.0),
    (second_value, "two values", 1.0),
    (wrong_difference, "difference", 1.0),
    (wrong_sum, "sum", 1.0),
    (images_for_patients, "interval and n", 0.8),
    (copied_interval, "copied interval", 0.9),
]


@pytest.mark.parametrize(
    ("plant", "rule", "least"), PLANTED, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_planted_fault_is_found(plant: Callable[[int], tuple[Table, int]], rule: str, least: float) -> None:
    hits = []
    for seed in range(5):
        found, row = plant(seed)
        hits.append(any(each.rule == rule and row + 2 in each.lines for each in check(found)))
    assert np.mean(hits) >= least


def test_arms_with_intervals_of_images_and_of_patients_are_told() -> None:
    found = fake_published.end_point(3, arms=5)
    for arm in ("arm0", "arm1"):
        row = place(found, metric="auc", arm=arm)
        value = float(found.loc[row, "value"])
        for end in ("low", "high"):
            found.loc[row, end] = f"{value + (float(found.loc[row, end]) - value) / math.sqrt(5):.3f}"
    assert only(check(found), "mixed units").kind == "improbable"


def only(findings: list[Finding], rule: str) -> Finding:
    (finding,) = [each for each in findings if each.rule == rule]
    return finding


def test_an_area_that_no_pairs_give_is_found_also_without_the_number_of_positives() -> None:
    """61 of 72 pairs are .847; no number of pairs among 17 samples is .753."""
    rows = ({"metric": "auc", "value": "0.847"}, {"arm": "b", "metric": "auc", "value": "0.753"})
    assert only(check(end_point(*rows)), "AUC and pairs").lines == (3,)
    finding = only(check(end_point(*rows, positive="9")), "AUC and pairs")
    assert finding.lines == (3,)
    assert "54/72" in finding.possible


def test_averages_over_both_classes_are_told_from_numbers_of_the_positive_class() -> None:
    """5 of 8 and 8 of 9 right: recall (.625 + .889) / 2, precision (5/6 + 8/11) / 2."""
    values = {"accuracy": "76.47%", "precision": "78.03%", "recall": "75.69%", "F1": "75.71%"}
    found = check(end_point(*({"metric": metric, "value": value} for metric, value in values.items())))
    assert [each.rule for each in found] == ["averaging"]
    assert found[0].kind == "unclear"
    assert found[0].possible == "8 or 9 positives, 13 samples right"


def test_no_number_of_positives_suits_both_arms() -> None:
    """Among 10 samples 3/4 detected needs 4 or 8 positives, 2/3 needs 3, 6 or 9."""
    rows = [{"metric": "sensitivity", "value": "0.750"}, {"metric": "specificity", "value": "0.500"}]
    others = [{"metric": "sensitivity", "value": "0.667"}, {"metric": "specificity", "value": "0.429"}]
    found = check(end_point(*rows, *({"arm": "b"} | row for row in others), n="10"))
    assert only(found, "positives").possible == "possible numbers of positives of a: 4 or 8; b: 3"


def test_a_finding_names_numbers_that_would_be_possible() -> None:
    rows = ({"metric": "sensitivity", "value": "0.607"}, {"metric": "specificity", "value": "0.756"})
    found = check(end_point(*rows, n="102", positive="41"))
    assert [each.rule for each in found][:2] == ["proportion", "proportion"]
    assert "24/41 = 0.5854 or 25/41 = 0.6098" in found[0].possible
    assert "37/61: with the classes exchanged" in found[0].possible
    cut_off = check(end_point({"metric": "accuracy", "value": "0.66"}, n="3"))
    assert "2/3 if it was cut off" in cut_off[0].possible


def test_a_sensitivity_without_a_class_is_traced_to_its_class() -> None:
    """326 of 340 F4 are right, and 89 of 172 F1 are called F2: the mean sensitivity cannot be 326/340."""
    sizes = {"F0": 423, "F1": 172, "F2": 159, "F3": 171, "F4": 340}
    common = {"task": "stage", "cohort": "test", "classes": "5"}
    arm = common | {"arm": "a"}
    found = check(
        table(
            *(common | {"metric": "count", "class": name, "value": str(n)} for name, n in sizes.items()),
            arm | {"metric": "confusion", "class": "F4", "predicted": "F4", "value": "326"},
            arm | {"metric": "confusion", "class": "F1", "predicted": "F2", "value": "89"},
            arm | {"metric": "sensitivity", "value": "0.9588"},
        )
    )
    assert [each.rule for each in found] == ["unnamed average"]
    assert found[0].possible.startswith("it is that of F4 (326/340)")


def test_a_specificity_that_counts_right_answers_outside_a_class_is_told() -> None:
    """26 of 30 and 108 of the other 120 are right; confusions among the others count as false positives."""
    common = {"task": "lesion", "cohort": "test", "classes": "5"}
    sizes = [common | {"metric": "count", "class": name, "value": "30"} for name in "abcde"]
    values = {"accuracy": "0.893", "sensitivity": "0.867", "specificity": "0.900"}
    found = check(table(*sizes, *(common | {"arm": "x", "metric": m, "value": v} for m, v in values.items())))
    of_specificity = next(each for each in found if each.sentence.startswith("specificity"))
    assert of_specificity.possible.startswith(
        "it is the proportion of right answers among the 120 samples outside"
    )


def test_classes_that_may_be_incomplete_are_held_against_the_whole_only_above_it() -> None:
    counts = [{"task": "sex", "metric": "count", "class": "men", "value": "60"},
              {"task": "sex", "metric": "count", "class": "women", "value": "50"}]  # fmt: skip
    whole = {"task": "sex", "metric": "count"}
    assert not check(table(*counts, whole | {"value": "120"}))
    assert only(check(table(*counts, whole | {"value": "100"})), "sum").possible == "110"
    complete = [row | {"classes": "2"} for row in (*counts, whole | {"value": "120"})]
    assert only(check(table(*complete)), "sum").lines == (4, 2, 3)


def test_a_zero_at_the_end_of_every_number_of_a_place_is_padding() -> None:
    folds = [
        {"fold": str(fold), "arm": "a", "metric": "accuracy", "value": value}
        for fold, value in enumerate(("0.89", "0.83", "0.87"), 1)
    ]
    padded = [
        {"arm": arm, "fold": "mean", "metric": "accuracy", "value": "0.870", "where": "p. 3"}
        for arm in "abcdef"
    ]
    assert not check(table(*folds, *padded))
    assert check(table(*folds, *padded[:5]))[0].rule == "folds"


def test_every_rule_is_explained_in_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "checking.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE))
    assert set(RULES) - explained == {"copies"}  # whose findings have two names
    assert {"copied interval", "copied value"} <= explained
