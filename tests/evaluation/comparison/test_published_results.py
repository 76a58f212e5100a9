import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from compose import composed, names
from omegaconf import DictConfig
from statsmodels.stats.proportion import proportion_confint

from fibrolab.errors import ConfigError
from fibrolab.evaluation.comparison import published_results
from fibrolab.reporting.tables import metrics as metric_sheets
from fibrolab.runs.trained_run import Run
from fibrolab.training.checks import check

PAPERS = {"paper1", "paper2", "paper3", "paper4", "paper5"}
WITHOUT_INTERVAL = published_results.UNKNOWN


def reported(**values: Any) -> pd.DataFrame:
    return published_results.table({"tasks": {"stage": values}}, "stage").set_index("metric")


def told(config: DictConfig) -> Iterator[tuple[str, pd.DataFrame]]:
    for task in config.published.tasks:
        yield task, published_results.table(config.published, task)


@pytest.mark.parametrize("arm", names("experiment"))
def test_every_arm_of_a_paper_has_published_results(arm: str) -> None:
    assert arm.partition("/")[0] in PAPERS
    config = composed(f"experiment={arm}")
    found = dict(told(config))
    assert config.task.name in found
    assert config.published.source
    for table in found.values():
        assert len(table)
        assert table["value"].between(0, 1).all()
        bounded = table["low"].notna()
        assert (table["low"] < table["value"])[bounded].all()
        assert (table["value"] < table["high"])[bounded].all()
        assert set(table.loc[~bounded, "note"]) <= {WITHOUT_INTERVAL}


def test_an_accuracy_has_the_interval_of_its_number_of_samples() -> None:
    row = reported(n=949, accuracy=938 / 949).loc["accuracy"]
    low, high = proportion_confint(938, 949, method="wilson")
    assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))


def test_an_area_has_the_interval_of_hanley_and_mcneil() -> None:
    row = reported(n=102, positive=41, auc=0.95).loc["auc"]
    area, ill, well = 0.95, 41, 61  # their equation 1, by hand, and the logit scale
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (ill - 1) * (first - area**2) + (well - 1) * (second - area**2)
    half = 1.959964 * math.sqrt(variance / (ill * well)) / (area * (1 - area))
    centre = math.log(area / (1 - area))
    ends = [1 / (1 + math.exp(-(centre + sign * half))) for sign in (-1, 1)]
    assert [row["low"], row["high"]] == pytest.approx(ends, rel=1e-6)


@pytest.mark.parametrize(("metric", "of"), [("sensitivity", 41), ("specificity", 61)])
def test_sensitivity_and_specificity_have_the_interval_of_their_number_of_samples(
    metric: str, of: int
) -> None:
    row = reported(n=102, positive=41, **{metric: 0.8}).loc[metric]
    low, high = proportion_confint(0.8 * of, of, method="wilson")
    assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("a text", "published names no numbers"),
        ({"tasks": {"stage": [0.9]}}, "published names no numbers"),
        ({"tasks": {"stage": {"accuracy": 86.6}}}, "stage.accuracy=86.6 is not a number from 0 to 1"),
        ({"tasks": {"stage": {"accuracy": None}}}, "stage.accuracy=None is not a number"),
        ({"tasks": {"stage": {"n": "~300", "accuracy": 0.9}}}, "stage.n=~300 is not a whole number"),
        ({"tasks": {"stage": {"n": 10, "positive": 12}}}, "positive=12 leaves none of n=10 negative"),
    ],
)
def test_a_faulty_published_setting_is_refused_before_training(setting: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        published_results.table(setting, "stage")
    config = composed()
    config.published = setting
    with pytest.raises(ConfigError, match=words):
        check(config)


@pytest.mark.parametrize("setting", [None, {}, {"tasks": None}, {"tasks": {"F4": {"auc": 0.9}}}])
def test_a_run_of_no_paper_or_of_another_task_has_nothing_published(setting: Any) -> None:
    assert published_results.table(setting, "stage").empty


def test_the_page_shows_the_paper_beside_the_run_without_a_test() -> None:
    setting = {"source": "A paper, 2020", "note": "its split leaks", "tasks": {}}
    table = reported(n=102, positive=41, auc=0.95, macro_f1=0.8).reset_index()
    metrics = pd.DataFrame({"metric": ["auc"], "value": [0.8], "low": [0.7], "high": [0.9]})
    run = Run(Path(), config={"published": setting}, metrics=metrics, tables={"published": table})
    (sheet,) = metric_sheets.published(run)
    assert sheet.caption.startswith(
        "Published results for this arm: A paper, 2020. Published test set: 102, 41 of them positive."
    )
    assert "Its split leaks. The patients, and often the split, are different" in sheet.caption
    assert [column.title for column in sheet.columns] == ["Measure", "Published", "This run, by sample"]
    auc, f1 = sheet.lines
    assert [cell.text for cell in auc.cells] == ["AUC", ".950", ".800"]
    assert [cell.text for cell in f1.cells] == ["Macro F1", ".800", "–"]
