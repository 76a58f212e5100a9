"""The end of a run: what is printed."""

from pathlib import Path

import pytest
from fake_record import make

from fibrolab import keys
from fibrolab.analyses import evaluating, evaluation_tables
from fibrolab.runs import trained_run


def test_a_folder_whose_name_looks_like_markup_is_printed_unchanged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make(tmp_path / "data[/b]")
    evaluation_tables.write(run, resamples=20)
    evaluating.announce(trained_run.read(run), "0123", "sqlite:///mlflow.db")
    assert str(run / keys.REPORT_FILE) in capsys.readouterr().out
