"""The check of published numbers as a command: text, table, and refusals."""

from pathlib import Path

import pandas as pd
import pytest

from fibrolab.analyses import checking_published
from fibrolab.errors import DataError

HEADER = "arm,task,cohort,metric,value,low,high,n,positive,classes,where,note\n"


def paper(folder: Path, name: str, *rows: str) -> Path:
    path = folder / f"{name}.csv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


def test_findings_of_several_papers_are_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [f"arm{k},F4,test,accuracy,0.66{k},,,5,,2,Table 1,by image" for k in range(8)]
    one = paper(tmp_path, "one", *wrong, "arm1,F4,test,auc,0.8,,,,,2,,", "arm1,F4,test,loss,0.3,,,,,,,")
    other = paper(tmp_path, "other", "arm1,F4,test,accuracy,0.80,,,5,,2,,")
    found = checking_published.run([one, other], tmp_path / "new" / "folder")
    printed = capsys.readouterr().out
    assert list(found["rule"]) == ["proportion"] * 8
    assert found.loc[0, "lines"] == "2"
    assert (found.loc[0, "where"], found.loc[0, "note"]) == ("Table 1", "by image")
    assert "3/5 = 0.6000" in found.loc[0, "possible"]
    assert "proportion: and 3 more, in the table" in printed
    assert "1 proportions and AUCs were not held" in printed
    assert "Only ranges and repetitions were checked of: loss." in printed
    assert "the numbers are possible together" in printed
    written = pd.read_csv(tmp_path / "new" / "folder" / checking_published.TABLE_FILE, dtype=str)
    assert len(written) == len(found)
    assert (tmp_path / "new" / "folder" / checking_published.TEXT_FILE).read_text() in printed


def test_a_consistent_paper_gives_an_empty_table(tmp_path: Path) -> None:
    found = checking_published.run(paper(tmp_path, "one", "a,F4,test,accuracy,0.80,,,5,,2,,"), tmp_path)
    assert found.empty
    assert tuple(found.columns) == checking_published.COLUMNS


def test_what_cannot_be_checked_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give the path"):
        checking_published.run([], tmp_path)
    with pytest.raises(DataError, match=r"no file .*nowhere\.csv"):
        checking_published.run(tmp_path / "nowhere.csv", tmp_path)
    with pytest.raises(DataError, match=r"one\.csv: .*line 2: value is 'high'"):
        checking_published.run(paper(tmp_path, "one", "a,F4,test,accuracy,high,,,5,,2,,"), tmp_path)
