import warnings

import numpy as np
import pandas as pd
import pytest
from drawn import texts
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from fibrolab.evaluation.clinical import net_benefit
from fibrolab.reporting.figures.counts import confusion_matrix
from fibrolab.reporting.figures.forest import subgroups
from fibrolab.reporting.figures.probabilities import decision_curves, reliability
from fibrolab.reporting.figures.roc_curves import CHOSEN, end_points, precision_recall, roc

STAGES = ("F0", "F1", "F2", "F3", "F4")


def predicted(n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, probabilities and groups of three."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, n)
    scores = random.normal(size=(n, classes)) - 1.2 * np.abs(np.arange(classes) - truth[:, None])
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    rounded = probabilities.round(2)
    return truth, rounded / rounded.sum(axis=1, keepdims=True), np.arange(n) // 3


def bands(axes: Axes) -> int:
    """Number of bands that a panel shows."""
    return len(axes.collections)


def shown(value: float) -> str:
    """An area as figures print it."""
    return f"{value:.3f}".removeprefix("0")


def test_roc_legend_has_the_areas_of_scikit_learn() -> None:
    truth, scores, _ = predicted(60, 3)
    words = texts(roc(truth, scores, STAGES[:3]))
    for k, name in enumerate(STAGES[:3]):
        assert f"{name}: AUC {shown(roc_auc_score(truth == k, scores[:, k]))}" in words


def test_roc_names_an_absent_class_and_an_only_class() -> None:
    words = texts(roc(np.zeros(4, int), np.full((4, 3), 1 / 3), ["F0", "F1", "F2"]))
    assert {"F0: no other class", "F1: no cases", "F2: no cases"} <= set(words)


def test_roc_of_two_classes_is_one_curve_of_the_second() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8]])
    words = texts(roc(np.array([0, 1]), scores, ["<F2", ">=F2"]))
    assert [text for text in words if "AUC" in text] == [">=F2: AUC 1.000"]


def test_five_classes_have_a_panel_each_with_a_band_and_the_others_behind() -> None:
    truth, scores, groups = predicted(90, 5)
    sheet = roc(truth, scores, STAGES, groups)
    panels = [axes for axes in sheet.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == list(STAGES)
    assert [bands(axes) for axes in panels] == [1] * 5
    assert [len(axes.lines) for axes in panels] == [6] * 5  # five curves and chance
    areas = [shown(roc_auc_score(truth == k, scores[:, k])) for k in range(5)]
    assert [axes.texts[0].get_text() for axes in panels] == [f"AUC {area}" for area in areas]


def test_without_groups_or_with_only_one_there_is_no_band() -> None:
    truth, scores, groups = predicted(60, 3)
    for known, expected in ((None, 0), (np.zeros(60), 0), (groups, 3)):
        assert bands(roc(truth, scores, STAGES[:3], known).axes[0]) == expected


def test_a_band_contains_its_curve() -> None:
    truth, scores, groups = predicted(150, 2)
    scores = 0.5 + 0.2 * (scores - 0.5)
    scores = scores + np.random.default_rng(1).normal(size=(150, 1)) * [-0.1, 0.1]
    axes = roc(truth, scores, ["no", "yes"], groups).axes[0]
    edge = axes.collections[0].get_paths()[0].vertices
    false_rate, true_rate, _ = roc_curve(truth == 1, scores[:, 1])
    for x in (0.1, 0.2, 0.3):
        inside = edge[np.isclose(edge[:, 0], x), 1]
        assert inside.min() <= np.interp(x, false_rate, true_rate) <= inside.max()
        assert inside.max() - inside.min() > 0.01


def test_precision_recall_shows_average_precision_and_prevalence() -> None:
    truth, scores, groups = predicted(90, 3)
    axes = precision_recall(truth, scores, STAGES[:3], groups).axes[0]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    for k, name in enumerate(STAGES[:3]):
        assert f"{name}: AP {shown(average_precision_score(truth == k, scores[:, k]))}" in legend
        baseline, curve = axes.lines[2 * k : 2 * k + 2]
        assert list(baseline.get_ydata()) == [np.mean(truth == k)] * 2
        steps = -np.diff(curve.get_xdata()) @ curve.get_ydata()[:-1]
        assert steps == pytest.approx(average_precision_score(truth == k, scores[:, k]), abs=1e-12)


def test_end_points_are_scored_by_summed_probabilities_and_marked_at_the_threshold() -> None:
    truth, scores, groups = predicted(90, 5)
    lowest = {"ge_F2": 2, "ge_F3": 3, "ge_F4": 4}
    axes = end_points(truth, scores, STAGES, lowest, groups, chosen={"ge_F3": (0.9, 0.7)}).axes[0]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    names = ("F2 or worse", "F3 or worse", "F4")
    areas = [roc_auc_score(truth >= k, scores[:, k:].sum(axis=1)) for k in lowest.values()]
    assert legend == [
        *(f"{name}: AUC {shown(area)}" for name, area in zip(names, areas, strict=True)),
        CHOSEN,
    ]
    marks = [line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata())]
    assert [(mark.get_xdata()[0], mark.get_ydata()[0]) for mark in marks] == [(pytest.approx(0.3), 0.9)]
    assert bands(axes) == 3


def test_curves_of_one_panel_differ_in_colour_and_in_dash() -> None:
    truth, scores, _ = predicted(60, 3)
    curves = [line for line in roc(truth, scores, STAGES[:3]).axes[0].lines if "AUC" in line.get_label()]
    assert len({line.get_color() for line in curves}) == 3
    assert len({str(line._dash_pattern) for line in curves}) == 3  # `get_linestyle` calls every dash "--"


def test_reliability_shows_proportions_with_intervals_and_numbers_of_predictions() -> None:
    truth, scores, groups = predicted(300, 5)
    sheet = reliability(truth, {"As predicted": scores, "x": scores}, groups, errors={"x": "ECE .02"})
    upper, _, lower, _ = sheet.axes
    points = upper.lines[-1]
    hit = scores.argmax(axis=1) == truth
    assert np.average(points.get_ydata()) == pytest.approx(hit.mean(), abs=0.05)
    assert sum(bar.get_height() for bar in lower.patches) == 300
    assert "ECE .02" in texts(sheet)
    spans = [segment[:, 1] for segment in upper.collections[0].get_segments()]
    assert all(low <= y <= high for (low, high), y in zip(spans, points.get_ydata(), strict=True))


def test_decision_curves_are_those_of_the_evaluation() -> None:
    truth, scores, groups = predicted(90, 5)
    axes = decision_curves(truth, scores, STAGES, {"ge_F2": 2, "ge_F4": 4}, groups).axes[1]
    none, everybody, run = axes.lines
    found = net_benefit.curve(scores[:, 4], truth == 4, groups, 2)
    assert list(none.get_ydata()) == [0, 0]
    assert everybody.get_ydata() == pytest.approx(found.all)
    assert run.get_ydata() == pytest.approx(found.run)
    assert axes.get_title(loc="left") == "F4"


def test_a_forest_has_a_line_per_subgroup_below_its_variable() -> None:
    columns = ["variable", "value", "n", "groups", "metric", "estimate", "low", "high"]
    rows = [
        ("site", "007", 40, 14, "accuracy", 0.8, 0.7, 0.9),
        ("site", "north", 1, 1, "accuracy", np.nan, np.nan, np.nan),
        ("sex", "F", 1500, 500, "accuracy", 0.7, np.nan, np.nan),
        ("sex", "F", 1500, 500, "mae", 0.4, 0.3, 0.5),
    ]
    sheet = subgroups(pd.DataFrame(rows, columns=columns), {"accuracy": 0.75})
    accuracy, error = sheet.axes
    names = [label.get_text() for label in accuracy.get_yticklabels()]
    assert names == ["Site", "007, n = 40", "north, n = 1", "Sex", "F, n = 1,500"]
    assert [text.get_text() for text in accuracy.texts] == ["not defined"]
    spans = [list(line.get_xdata()) for line in accuracy.lines]
    assert spans == [[0.7, 0.9], [0.8], [0.7], [0.75, 0.75]]
    assert [list(line.get_ydata()) for line in error.lines] == [[4, 4], [4]]


@pytest.mark.parametrize(
    ("n", "classes"), [(1, 5), (2, 2), (17, 5), (60, 2), (60, 4), (90, 12)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("only", [False, True], ids=["several classes", "one class"])
def test_unusual_test_sets_are_drawn_without_error_or_warning(n: int, classes: int, only: bool) -> None:
    truth, scores, groups = predicted(n, classes)
    truth = np.full(n, classes - 1) if only else truth
    names = [f"c{k}" for k in range(classes)]
    lowest = {"last": classes - 1, "first": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sheets: list[Figure] = [
            roc(truth, scores, names, groups),
            precision_recall(truth, scores, names, groups),
            end_points(truth, scores, names, lowest, groups, chosen={"last": (1, 1)}),
            reliability(truth, {"As predicted": scores}, groups),
            decision_curves(truth, scores, names, lowest, groups),
            confusion_matrix(truth, scores.argmax(axis=1), names),
        ]
        assert all(texts(sheet) for sheet in sheets)
