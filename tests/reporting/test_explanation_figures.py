"""Figures of heat maps: titles, arrangement, colour bars, and maps over time."""

import numpy as np
from drawn import texts

from fibrolab.explanation.selection import NEAREST, RIGHT, WRONG
from fibrolab.reporting.figures import explanation as figures
from fibrolab.reporting.figures.explanation import ExplainedSample

MEANING = "Grad-CAM of the predicted class"


def sample(rule: str, truth: str, predicted: str, sample_id: str = "s") -> ExplainedSample:
    random = np.random.default_rng(0)
    picture, heat = random.integers(0, 256, (12, 16), np.uint8), random.random((12, 16))
    return ExplainedSample(sample_id, rule, truth, predicted, 0.87, picture, heat)


SAMPLES = [sample(RIGHT, "F0", "F0"), sample(WRONG, "F2", "F3"), sample(NEAREST, "", "F1")]


def test_panels_show_truth_prediction_probability_and_outcome() -> None:
    shown = texts(figures.panels(SAMPLES, signed=False, meaning=MEANING))
    assert f"{WRONG}\ntrue F2, predicted F3 (87\u00a0%), wrong" in shown
    assert f"{RIGHT}\ntrue F0, predicted F0 (87\u00a0%), right" in shown
    assert f"{NEAREST}\npredicted F1 (87\u00a0%)" in shown
    assert {"original", "map", "overlay"} <= set(shown)
    assert {"no wrong prediction of F0", "no right prediction of F2"} <= set(shown)
    assert any("scale of this figure" in each.replace("\n", " ") for each in shown)


def test_wrong_predictions_stand_to_the_right_of_right_ones() -> None:
    drawn = figures.panels(SAMPLES, signed=False, meaning=MEANING)
    titled = {text.get_text().partition("\n")[0]: axes for axes in drawn.axes for text in axes.texts}
    columns = {rule: titled[rule].get_subplotspec().colspan.start for rule in (RIGHT, WRONG, NEAREST)}
    assert columns == {RIGHT: 0, WRONG: 3, NEAREST: 0}


def test_all_maps_of_a_panel_share_one_colour_bar() -> None:
    drawn = figures.panels(SAMPLES, signed=True, meaning=MEANING)
    bars = [axes for axes in drawn.axes if axes.get_label() == "<colorbar>"]
    assert len(bars) == 1
    low, high = bars[0].get_ylim()
    assert low == -high


def test_no_sample_is_said() -> None:
    assert texts(figures.panels([], signed=False, meaning=MEANING)) == ["No sample was chosen."]


def test_each_arm_has_a_column_with_its_predictions_and_its_bar() -> None:
    rows = [{"resnet50": sample(RIGHT, "F0", "F0"), "vgg16": sample(RIGHT, "F0", "F4")}] * 3
    drawn = figures.arms(rows, signed=False, meaning=MEANING)
    assert {"resnet50\nF0 (87\u00a0%)", "vgg16\nF4 (87\u00a0%)", "F4 (87\u00a0%)"} <= set(texts(drawn))
    assert [len(axes.child_axes) for axes in drawn.axes] == [0] * 6 + [0, 1, 1] + [0] * 3  # two samples a row


def test_mean_maps_have_a_panel_for_each_class_with_its_number() -> None:
    grey, heat = np.full((8, 8), 90.0), np.eye(8)
    shown = texts(figures.mean_maps({"F0": (grey, heat, 1200), "F4": (grey, heat, 3)}, False, MEANING))
    assert {"F0 (n = 1,200)", "F4 (n = 3)"} <= set(shown)


def test_heat_over_time_has_mean_and_band() -> None:
    proportions = np.array([[0.2, 0.3, 0.5], [0.4, 0.3, 0.3]])
    (axes,) = figures.over_time(proportions).axes
    mean, equal = axes.lines
    np.testing.assert_allclose(mean.get_ydata(), [0.3, 0.3, 0.4])
    np.testing.assert_allclose(equal.get_ydata(), 1 / 3)
    assert axes.get_xlabel() == "Time step of the map"
    assert figures.over_time(proportions, np.array([0.0, 0.5, 1.0])).axes[0].get_xlabel() == "Time [s]"
