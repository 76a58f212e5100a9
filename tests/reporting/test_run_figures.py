from pathlib import Path

import fake_run
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score

from fibrolab import keys
from fibrolab.evaluation import predictions
from fibrolab.reporting import run_page, vocabulary
from fibrolab.reporting.figures import run as figures
from fibrolab.runs import trained_run as runs
from fibrolab.runs.trained_run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return runs.read(fake_run.make(tmp_path_factory.mktemp("run"), n=60))


NAMES = [entry.name for entry in figures.FIGURES]


def test_every_figure_has_a_unique_name_and_a_section_of_the_page() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert {entry.section for entry in figures.FIGURES} <= set(run_page.TITLES)
    assert {entry.name for entry in figures.FIGURES if entry.draw is None} == {"masks", "mistakes", "samples"}


def test_the_text_of_a_confusion_matrix_counts_correct_predictions(run: Run) -> None:
    test = run.scored()
    assert test is not None
    truth, scores = test[keys.Y_TRUE], predictions.probabilities(test)
    right = accuracy_score(truth, scores.argmax(axis=1), normalize=False)
    assert f"{int(right)} of 60 predictions are correct." in figures.alternative_text("confusion_matrix", run)


def test_the_text_of_a_confusion_matrix_names_the_most_frequent_error() -> None:
    frame = pd.DataFrame({keys.PARTITION: keys.TEST, keys.Y_TRUE: [0, 1, 1, 1], "p_0": [1.0, 1, 1, 0]})
    run = Run(Path(), {"task": {"classes": ["a", "b"]}}, predictions=frame.assign(p_1=1 - frame["p_0"]))
    words = figures.alternative_text("confusion_matrix", run)
    assert words.endswith("2 of 4 predictions are correct. The most frequent error: 2 of 3 b predicted as a.")


def test_the_text_of_roc_curves_has_the_recorded_areas(run: Run) -> None:
    assert run.metrics is not None
    value = run.metrics.set_index("metric")["value"]["auc_F3"]
    assert f"F3 {value:.3f}".replace("0.", ".") in figures.alternative_text("roc", run)


def test_the_text_of_learning_curves_names_the_best_value() -> None:
    history = pd.DataFrame({"epoch": [0, 1, 2], "val/auc": [0.6, 0.9, 0.7]})
    run = Run(Path(), {"monitor": "val/auc", "mode": "max"}, history=history)
    assert figures.alternative_text("curves", run).endswith("3 epochs; the best val/auc is 0.9.")


def test_the_text_of_subgroups_names_the_best_and_the_worst() -> None:
    rows = {
        "variable": "site",
        "value": ["n", "s", "w"],
        "metric": "accuracy",
        "estimate": [0.8, 0.6, np.nan],
    }
    words = figures.alternative_text("subgroups", Run(Path(), tables={"subgroups": pd.DataFrame(rows)}))
    assert words.endswith("Accuracy ranges from 60.0\u00a0% (site s) to 80.0\u00a0% (site n).")


@pytest.mark.parametrize("name", NAMES)
def test_without_records_the_text_is_the_caption(name: str) -> None:
    assert figures.alternative_text(name, Run(Path())) == figures.caption(name)


def test_an_unknown_figure_has_its_name_as_caption() -> None:
    assert figures.alternative_text("my_figure", Run(Path())) == "My figure."


def test_an_end_point_is_named_by_its_lowest_stage() -> None:
    assert vocabulary.end_point(["F0", "F1", "F2"], 1) == "F1 or worse"
    assert vocabulary.end_point(["F0", "F1", "F2"], 2) == "F2"


def test_end_points_beyond_the_classes_are_left_out(run: Run) -> None:
    named = Run(Path(), {"task": {"endpoints": {"ge_F2": 2, "ge_F9": 9}}}, predictions=run.predictions)
    assert vocabulary.end_points(named) == {"ge_F2": 2}
