"""Patient ids: spellings that fall together, ids that a spreadsheet has cut, and those that only look so."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrolab.data.patient_ids import cut, folded


def found(*ids: str) -> list[str]:
    return list(cut(pd.Series(ids, range(2, 2 + len(ids)), dtype=object, name="patient_id")))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("p00", "P00"),
        ("Straße 1", "STRASSE 1"),
        ("P 7", "P7"),
        ("P\u00a07", "P7"),
        ("P-7", "P\u20117"),
        ("P-7", "P\u22127"),
        ("Ｐ７", "P7"),
        ("007", "7"),
        ("P-007", "P-7"),
        ("12-01", "12-1"),
        ("000", "0"),
        ("7.0", "7"),
        ("P7.00", "p7"),
        ("\u200bP7", "P7"),
        ("P\u00ad7", "P7"),  # a soft hyphen
        ("\u0420\u041d-7", "PH-7"),  # Cyrillic
        ("\u0391\u039a7", "AK7"),  # Greek
    ],
)
def test_spellings_of_one_id_fall_together(one: str, other: str) -> None:
    assert folded(one) == folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("P10", "P1"),
        ("P-7", "P7"),
        ("P_7", "P-7"),
        ("1.05", "1.5"),
        ("1.2.0", "1.2"),
        ("70", "7"),
        ("A7", "B7"),
        ("\u0416\u042f7", "XR7"),  # Cyrillic letters that look like no Latin ones
    ],
)
def test_other_ids_stay_apart(one: str, other: str) -> None:
    assert folded(one) != folded(other)


@given(st.text("abcxyzäß", min_size=1, max_size=4), st.integers(0, 10**9), st.integers(0, 4))
def test_an_id_in_other_case_with_blanks_and_zeros_is_the_same(word: str, number: int, zeros: int) -> None:
    assert folded(f" {word.upper()}\u2011{'0' * zeros}{number}.0 ") == folded(f"{word}-{number}")
    assert folded(f"{word}-{number}") != folded(f"{word}-{number + 1}")


@given(st.text(max_size=12))
def test_any_text_is_folded_and_an_id_with_a_letter_or_digit_never_becomes_empty(name: str) -> None:
    assert folded(name) or not any(character.isalnum() for character in name)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (("1.23457E+15", "7"), "is a number without its last digits: format the column as text"),
        (("1,23457E+15", "7"), "is a number without its last digits"),
        (("1.234567e+15", "7"), "is a number without its last digits"),
        (("1234567890123450", "7"), "is a number of which a spreadsheet has kept 15 digits"),
        (("12345678901234500", "12345678901234600"), "of which a spreadsheet has kept 15 digits"),
        (("12-Mar", "13-45"), "is a date, which a spreadsheet makes of ids such as 3-12"),
        (("03. Dez", "13-45"), "is a date"),
        (("12-mars", "13-45"), "is a date"),
        (("03.12.2024", "13-45"), "is a date"),
        (("2024-12-03 00:00:00", "13-45"), "is a date"),
        (("3/12/2024", "4/12/2024"), "is a date"),
        (("#NAME?", "7"), "is the error value of a spreadsheet"),
        (("########", "7"), "is the error value of a spreadsheet"),
    ],
)
def test_a_cut_id_is_a_fault_by_row(ids: tuple[str, ...], words: str) -> None:
    first, *_ = found(*ids)
    assert first.startswith(f"row 2: patient_id {ids[0]!r} ")
    assert words in first


@pytest.mark.parametrize(
    "ids",
    [
        ("", "P001", "p-7"),
        ("123456789012345", "123456789012000"),  # 15 digits
        ("1234567890123451", "1234567890123452", "1234567890123450"),  # one genuine id in ten ends in zero
        ("3E12", "5E-10", "1E5"),
        ("2023-05-01", "2023-05-42"),  # year, month and a running number
        ("01-02-03", "12-3-4", "3-12"),
        ("1.2.840.10008", "99/99/2024"),
        ("Maria-01", "March 3", "OCT-01", "MAY"),
        ("#7", "7.0"),
    ],
)
def test_ids_that_only_look_so_are_none(ids: tuple[str, ...]) -> None:
    assert found(*ids) == []


def test_one_long_id_is_counted_once() -> None:
    many = ["1234567890123450"] * 5
    assert found(*many, "1234567890123457", "1234567890123458") == []
    (sentence,) = found(*many)
    assert "rows 2, 3, 4, 5, 6" in sentence
