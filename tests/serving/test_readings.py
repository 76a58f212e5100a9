"""The database of a study: first readings count, foreign files are refused, truth is matched by the file."""

from pathlib import Path

import pytest

from fibrolab.errors import ConfigError, DataError
from fibrolab.runs import answering
from fibrolab.serving import readings
from fibrolab.serving.readings import ReadBeforeError, ReadingStore

RULES = answering.Rules(("F0", "F1"), True, {"F1": 1}, {"F1": 0.5}, 1.0, 0.1, 0.9)


@pytest.fixture
def store(tmp_path: Path) -> ReadingStore:
    """Readings of two readers: A as the model, B always the other stage."""
    found = ReadingStore(tmp_path / "new" / "study.db", "run", RULES)
    for number in range(40):
        chance = 0.1 + 0.8 * (number % 2)
        stage, other = ("F1", "F0") if number % 2 else ("F0", "F1")
        for reader, given in (("A", stage), ("B", other)):
            found.add(reader, f"{number:064x}", given, answer(stage, chance))
    return found


def answer(stage: str, chance: float) -> dict[str, object]:
    chances = {"p_F0": 1 - chance, "p_F1": chance}
    return {"predicted": stage, "confidence": 0.9, "prediction_set": stage, **chances}


def test_the_first_reading_counts(store: ReadingStore) -> None:
    with pytest.raises(ReadBeforeError, match="A read this file as F0 at 20"):
        store.add("A", f"{0:064x}", "F1", answer("F0", 0.1))
    assert len(store.table()) == 80
    again = ReadingStore(store.path, "run", RULES)
    assert len(again.table()) == 80
    assert len(ReadingStore(store.path, "another run", RULES).table()) == 0


def test_a_reader_is_known_in_any_case(store: ReadingStore) -> None:
    with pytest.raises(ReadBeforeError, match="read this file as F0"):
        store.require_unread("a", f"{0:064x}")
    store.add("b", "f" * 64, "F0", answer("F0", 0.1))
    assert set(store.table()["reader"]) == {"A", "B"}


def test_a_map_that_a_reader_sees_after_reading_is_no_earlier_answer_to_others(store: ReadingStore) -> None:
    store.add("A", "e" * 64, "F0", answer("F0", 0.1))
    store.remember(["e" * 64, "f" * 64], "A")
    for digest in ("e" * 64, "f" * 64):  # of the second, A saw the map without having read it
        store.add("B", digest, "F0", answer("F0", 0.1))
    assert store.table()["answered_before"].tolist()[-2:] == [0, 1]


def test_agreement_is_by_reader_and_truth_is_matched_by_the_hash(store: ReadingStore, tmp_path: Path) -> None:
    rows = {row["reader"]: row for row in readings.agreement(store)["rows"]}
    assert (rows["A"]["value"], rows["B"]["value"]) == (pytest.approx(1), pytest.approx(-1))
    path = tmp_path / "truth.csv"
    lines = [f"{number:064X},F{number % 2},p{number // 4}" for number in range(36)]
    path.write_text("\n".join(["sha256,label,patient_id", *lines]))
    found = readings.agreement(store, readings.true_stages(path, RULES.classes))
    areas = {(row["reader"], row["of"]): row["value"] for row in found["rows"] if row["metric"] == "auc_F1"}
    assert areas == {("A", "reader"): 1, ("A", "model"): 1, ("B", "reader"): 0, ("B", "model"): 1}
    assert {row["n"] for row in found["rows"]} == {36}
    assert {row["groups"] for row in found["rows"]} == {9}
    left_out, few = found["notes"]
    assert left_out == "8 readings are left out: the table of true stages lacks their file."
    assert few.startswith("9 independent units are few")
    assert set(found["curves"]) == {"A", "B"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\na,F0\n", "has no column sha256"),
        ("sha256,label\na,F0\na,F1\n", "has a twice"),
        ("sha256,label\na,F7\n", "has 'F7', none of F0, F1"),
    ],
)
def test_true_stages_with_a_fault_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        readings.true_stages(path, RULES.classes)


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is a text of some length, and no database at all" * 20)
    with pytest.raises(ConfigError, match="is not a database"):
        ReadingStore(tmp_path / "text.db", "run", RULES)
    assert (tmp_path / "text.db").read_text().startswith("this is a text")


def test_a_name_that_a_spreadsheet_would_run_is_exported_as_text(tmp_path: Path) -> None:
    store = ReadingStore(tmp_path / "study.db", "run", RULES)
    store.add("=1+1", "0" * 64, "F0", answer("F0", 0.1))
    assert ",'=1+1," in store.csv()
