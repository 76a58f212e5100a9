"""Numbers with decimal points, commas and marks between thousands: one reading, or both named."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibrolab.data.written_numbers import faults, read, two_readings


def column(*cells: object) -> pd.Series:
    return pd.Series(cells, range(2, 2 + len(cells)), dtype=object)


def unclear(*cells: str, commas: bool = False) -> list[str]:
    found = read(column(*cells))
    return column(*cells)[two_readings(column(*cells), found, commas or "," in found.marks)].tolist()


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("7.5", 7.5),
        ("1.234", 1.234),
        ("1e3", 1000),
        ("-.5", -0.5),
        ("7,5", 7.5),
        (" 7,5 ", 7.5),
        ("-7,5", -7.5),
        (",5", 0.5),
        ("7,", 7),
        ("0,125", 0.125),
        ("1234,567", 1234.567),
        ("01,234", 1.234),
        ("1,2345", 1.2345),
        ("1.234,5", 1234.5),
        ("1.234,567", 1234.567),
        ("1.234.567", 1234567),
        ("1,234.5", 1234.5),
        ("1,234,567", 1234567),
        ("1,234,567.8", 1234567.8),
        ("1 234", 1234),
        ("1\u202f234,5", 1234.5),
        ("1\u00a0234\u00a0567", 1234567),
        ("1'234.5", 1234.5),
        ("1’234", 1234),
    ],
)
def test_a_number_with_one_reading(cell: str, value: float) -> None:
    assert read(column(cell, "")).values.tolist()[0] == value
    assert unclear(cell) == []


@pytest.mark.parametrize(
    "cell",
    ["", ">75", "7,5,1", "1,23,456", "1.23.456", "1 23", "12 3456", "1,234,5", "7..5", "7 kPa", "1, 5"],
)
def test_other_cells_are_no_numbers(cell: str) -> None:
    assert np.isnan(read(column(cell)).values.iloc[0])
    assert unclear(cell) == []


@pytest.mark.parametrize(
    ("cells", "value"),
    [
        (("1,234", "45"), None),
        (("1,234", "7,5"), 1.234),
        (("1,234", "0,125"), 1.234),
        (("1,234", "7.5"), None),
        (("1,234", "7,5", "7.5"), None),
        (("1,234", "1.234"), None),
        (("-1,234", "7,5"), -1.234),
    ],
)
def test_a_comma_before_three_digits_follows_the_column_or_is_named(
    cells: tuple[str, ...], value: float | None
) -> None:
    found = read(column(*cells)).values.iloc[0]
    assert np.isnan(found) if value is None else found == value
    assert (cells[0] in unclear(*cells)) == (value is None)


@pytest.mark.parametrize(
    ("cells", "commas", "is_unclear"),
    [
        (("1.234", "45"), False, False),
        (("1.234", "45"), True, True),
        (("1.234", "7.5"), True, False),
        (("1.234", "7,5"), True, True),
        (("1.234", "7,5", "7.5"), True, True),
        (("0.123", "12.3456", "45"), True, False),
    ],
)
def test_a_point_before_three_digits_is_a_decimal_point_unless_commas_are(
    cells: tuple[str, ...], commas: bool, is_unclear: bool
) -> None:
    assert unclear(*cells, commas=commas) == ([cells[0]] if is_unclear else [])


def test_both_readings_are_named_for_each_of_a_few_cells() -> None:
    one, other = faults("x", column("1,234", "-56,789"))
    assert "row 2: x '1,234' is readable in two ways, here as 1234 or as 1.234" in one
    assert "row 3: x '-56,789' is readable in two ways, here as -56789 or as -56.789" in other
    assert list(faults("x", column())) == []


def test_numbers_stay_as_they_are() -> None:
    cells = pd.Series([1.234, np.nan, 7])
    pd.testing.assert_series_equal(read(cells).values, cells)
    assert not two_readings(cells, read(cells), True).any()


@given(st.lists(st.decimals(0, 10**6, places=2), min_size=1, max_size=20))
def test_the_same_numbers_are_read_from_german_french_swiss_and_english_tables(numbers: list) -> None:
    expected = [float(number) for number in numbers]
    english = [f"{number:,}" for number in numbers]
    swapped = [cell.translate(str.maketrans(",.", ".,")) for cell in english]
    for cells in (
        [str(number) for number in numbers],
        [str(number).replace(".", ",") for number in numbers],
        english,
        swapped,
        [cell.replace(".", "\u202f") for cell in swapped],
        [cell.replace(",", "'") for cell in english],
    ):
        assert read(column(*cells)).values.tolist() == expected
        assert unclear(*cells) == []


@given(st.lists(st.text("0123456789.,-+ eE%'"), max_size=5))
def test_any_text_is_read_without_an_error(cells: list[str]) -> None:
    found = read(column(*cells))
    assert len(found.values) == len(two_readings(column(*cells), found, True)) == len(cells)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False).map(str) | st.sampled_from(["", "x"])))
def test_what_pandas_reads_stays_so(cells: list[str]) -> None:
    expected = pd.to_numeric(column(*cells), errors="coerce").astype(float)
    pd.testing.assert_series_equal(read(column(*cells)).values, expected)
