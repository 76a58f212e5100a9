import html
import re

import fake_run
import fake_tables
import pandas as pd
import pytest

from fibrolab import keys
from fibrolab.evaluation import chance, predictions, score
from fibrolab.reporting import page


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run, scored as `results.evaluate` scores it, without its tags."""
    folder = fake_run.make(tmp_path_factory.mktemp("run"), n=60)
    metrics = pd.read_csv(folder / keys.METRICS_FILE, index_col=0)
    score.write(
        chance.beside(metrics, predictions.read(folder / keys.PREDICTIONS_FILE)), folder / keys.METRICS_FILE
    )
    fake_tables.published().to_csv(folder / "published.csv", index=False)
    return html.unescape(re.sub(r"<[^>]+>|[ \n]+", " ", page.write(folder).read_text()))


def test_accuracy_stands_with_its_p_against_chance_and_what_chance_is(text: str) -> None:
    assert len(re.findall(r"p\u00a0[<=]\u00a0\.\d+ against chance", text)) == 1
    assert "one-sided exact binomial test against the" in text


def test_every_headline_number_stands_with_the_mean_and_sd_of_the_resamples(text: str) -> None:
    assert len(re.findall(r"\d ± \.?\d", text)) == 3
    assert "mean ± SD of 200 bootstrap resamples" in text


def test_the_result_is_told_in_words_before_the_table(text: str) -> None:
    assert 0 < text.index("The right class is named for") < text.index("Interval is")


def test_what_a_paper_reports_has_a_section_of_its_own(text: str) -> None:
    assert "What a paper reports of this arm" in text
    assert "Tested there: 102." in text
