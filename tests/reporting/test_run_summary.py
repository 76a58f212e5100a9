"""The summary of a run that MLflow shows: headline metrics with intervals and baselines."""

import fake_run
import pytest

from fibrolab.reporting import numbers, run_summary
from fibrolab.runs import trained_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> trained_run.Run:
    return trained_run.read(fake_run.make(tmp_path_factory.mktemp("run")))


def test_every_headline_metric_is_a_row_with_its_interval_and_baseline(run: trained_run.Run) -> None:
    lines = run_summary.markdown(run).splitlines()
    assert run.metrics is not None
    for row in numbers.headline(run.metrics, run.baselines):
        cells = (row.title, row.value_text, row.interval_text, row.baseline_text, row.verdict)
        expected = " ".join(f"| {' | '.join(cells)} |".split())  # without spaces that do not break
        assert expected in [line.replace("\\", "") for line in lines]


def test_the_verdict_of_the_audit_comes_first(run: trained_run.Run) -> None:
    assert run_summary.markdown(run).startswith("**Audit ")


def test_signs_of_markdown_and_html_are_shown() -> None:
    assert run_summary._text("a|b <i>*c*</i>\n[d](e)") == r"a\|b \<i\>\*c\*\</i\> \[d\](e)"
