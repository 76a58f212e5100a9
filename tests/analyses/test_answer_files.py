"""The file of answers: a line a sample, whatever its name holds."""

import json
from pathlib import Path

import pytest

from fibrolab.analyses import answer_files
from fibrolab.errors import DataError


@pytest.mark.parametrize("name", ["a\u2028b.png", "a\x85b.png", "a\x0cb.png", "a\nb.png"])
def test_a_name_may_hold_a_sign_that_ends_a_line_elsewhere(tmp_path: Path, name: str) -> None:
    path = tmp_path / answer_files.LINES_FILE
    rows = [{"sample_id": name, "n": 1}, {"sample_id": "z.png", "n": 2}]
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
    assert answer_files.lines(path) == rows
    assert list(answer_files.latest(path)) == [name, "z.png"]


def test_a_damaged_line_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text('{"sample_id": "a"}\n{"sample')
    with pytest.raises(DataError, match="is damaged"):
        answer_files.lines(tmp_path / "answers.jsonl")
