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


@pytest.mark.parametrize(
    ("uri", "line"),
    [
        ("sqlite:////data/a b/mlflow.db", "ui --backend-store-uri 'sqlite:////data/a b/mlflow.db'"),
        ("http://me:secret@host:5000", "mlflow   http://me:***@host:5000"),
    ],
)
def test_the_way_to_mlflow_can_be_pasted_and_shows_no_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], uri: str, line: str
) -> None:
    run = make(tmp_path / "run")
    evaluation_tables.write(run, resamples=20)
    evaluating.announce(trained_run.read(run), "0123", uri)
    printed = capsys.readouterr().out
    assert line in printed
    assert "secret" not in printed
