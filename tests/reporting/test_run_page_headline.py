import html
import re
from pathlib import Path

import fake_run
import fake_tables
import pandas as pd
import pytest

from fibrolab import keys
from fibrolab.evaluation import baselines, predictions
from fibrolab.reporting import numbers, run_page
from fibrolab.reporting.tables import metrics as metric_sheets
from fibrolab.storage import write_table


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The text of a run's page, scored as in `evaluation_tables.write`, without its tags."""
    folder = fake_run.make(tmp_path_factory.mktemp("run"), n=60)
    metrics = pd.read_csv(folder / keys.METRICS_FILE, index_col=0)
    frame = predictions.read(folder / keys.PREDICTIONS_FILE)
    tested = baselines.with_chance_test(metrics, frame, 0, fake_run.CLASSES)
    write_table(tested, folder / keys.METRICS_FILE, index=True)
    fake_tables.published().to_csv(folder / "published.csv", index=False)
    return html.unescape(re.sub(r"<[^>]+>|[ \n]+", " ", run_page.write(folder).read_text()))


def test_accuracy_has_its_p_against_chance_and_the_accuracy_by_chance(text: str) -> None:
    assert len(re.findall(r"p\u00a0[<=]\u00a0\.\d+ against chance", text)) == 1
    assert "one-sided t test over groups against the" in text


def test_the_sensitivity_of_each_class_has_its_p(text: str) -> None:
    assert text.count("p of a sensitivity: one-sided t test over groups") == 1
    assert len(re.findall(r"\], p\u00a0[<=]\u00a0\.\d+", text)) == len(fake_run.CLASSES)


def test_every_headline_metric_has_mean_and_sd_of_the_resamples(text: str) -> None:
    assert len(re.findall(r"\d ± \.?\d", text)) == 3
    assert "mean ± SD of 200 bootstrap resamples" in text


def test_results_in_words_precede_the_table(text: str) -> None:
    assert 0 < text.index("The predicted class was correct for") < text.index("Interval is")


def test_published_results_have_their_own_section(text: str) -> None:
    assert "Published results" in text
    assert "Published test set: 102." in text


def test_two_classes_have_one_auc_with_one_interval(tmp_path: Path) -> None:
    metrics = pd.read_csv(fake_run.make(tmp_path, classes=("<F2", ">=F2"), n=60) / keys.METRICS_FILE)
    audited = {"nearest_neighbour": {"accuracy": 0.6, "macro_auc": 0.61}}
    _, area, _ = numbers.headline(metrics, audited)
    assert (area.title, area.baseline_text) == ("AUC", ".610 (nearest neighbour)")
    both = metrics.set_index("metric").loc[["auc", "macro_auc"], ["low", "high"]]
    assert (area.low, area.high) == tuple(both.loc["auc"]) == tuple(both.loc["macro_auc"])
    assert not {"auc", "macro_auc"} & {row.metric for row in metric_sheets.others(metrics, ("<F2", ">=F2"))}
