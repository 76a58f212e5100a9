"""Clinical columns: faults, warnings, and the wrong units that messages name."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fibrolab import keys
from fibrolab.data import clinical
from fibrolab.data.clinical import MEASURES, Measure
from fibrolab.errors import ConfigError

TABULAR = Path(__file__).parents[3] / "shared" / "data" / "tabular"


def faults(column: str, *cells: object) -> list[str]:
    return clinical.faults(pd.DataFrame({column: cells}, index=range(2, 2 + len(cells))))


def warnings(column: str, *cells: float) -> list[str]:
    names = [f"s{number}" for number in range(len(cells))]
    return clinical.implausible(pd.DataFrame({keys.SAMPLE_ID: names, column: cells}))


@pytest.mark.parametrize(
    ("column", "cell", "words"),
    [
        (keys.PLATELETS_1E9_L, "210000", "looks given per µL: divide by 1000"),
        (keys.LSM_KPA, "5500", "looks given in Pa: divide by 1000"),
        (keys.AST_ULN_U_L, "0.6", "looks given in µkat/L: multiply by 60"),
        (keys.AGE_YEARS, "1964", "looks like a year of birth: give the age at the visit"),
        (keys.AGE_YEARS, "700", "looks given in months: divide by 12"),
        (keys.AGE_YEARS, "21464", "looks given in days: divide by 365.25"),
        (keys.AGE_YEARS, "-3", "is not possible: 0 to 120 years are"),
        (keys.LSM_KPA, "0", "is not possible: 0.5 to 300 kPa are"),
    ],
)
def test_an_impossible_value_is_a_fault_that_names_the_wrong_unit(column: str, cell: str, words: str) -> None:
    assert faults(column, "", cell) == [f"row 3: {column} {cell} {words}"]


@pytest.mark.parametrize("cell", [">75", "inf", "-inf", "nan", "unknown", "5.1 kPa"])
def test_a_cell_that_is_not_a_number_is_a_fault(cell: str) -> None:
    assert faults(keys.LSM_KPA, cell) == [f"row 2: lsm_kpa {cell!r} is not a number in kPa"]


def test_decimal_commas_are_read() -> None:
    table = pd.DataFrame(
        {keys.LSM_KPA: ["7,9", "12,5", "", "1,234"], keys.ALT_U_L: ["40", "31", "8", "1 234"]}
    )
    assert clinical.faults(table) == []
    typed = clinical.typed(table)
    np.testing.assert_array_equal(typed[keys.LSM_KPA], [7.9, 12.5, np.nan, 1.234])
    np.testing.assert_array_equal(typed[keys.ALT_U_L], [40, 31, 8, 1234])


def test_a_number_with_two_readings_is_a_fault_that_names_both() -> None:
    assert faults(keys.ALT_U_L, "1,234", "45") == [
        "row 2: alt_u_l '1,234' is readable in two ways, here as 1234 or as 1.234: write no mark between "
        "thousands, and decimals with a point"
    ]
    (many,) = faults(keys.PLATELETS_1E9_L, *["210,000"] * 5)
    assert many.startswith("rows 2, 3, 4, 5, 6: platelets_1e9_l, such as '210,000', are readable in two ways")
    assert "this one as 210000 or as 210.000" in many


def test_a_point_before_three_digits_has_two_readings_beside_decimal_commas_of_another_column() -> None:
    table = pd.DataFrame({keys.LSM_KPA: ["7,9", "12,5"], keys.ALT_U_L: ["1.234", "45"]}, index=[2, 3])
    (sentence,) = clinical.faults(table)
    assert sentence.startswith("row 2: alt_u_l '1.234' is readable in two ways, here as 1234 or as 1.234")
    assert clinical.faults(table.assign(**{keys.ALT_U_L: ["1.234", "45.5"]})) == []
    assert clinical.faults(table[[keys.ALT_U_L]]) == []


def test_a_whole_column_in_another_unit_is_one_sentence() -> None:
    assert faults(keys.PLATELETS_1E9_L, *["210000"] * 1000) == [
        "rows 2, 3, 4, 5, 6, 7, .. (1,000 in all): platelets_1e9_l, such as 210000, "
        "look given per µL: divide by 1000"
    ]


def test_sex_is_kept_as_f_and_m_and_anything_else_is_a_fault() -> None:
    table = pd.DataFrame({keys.SEX: ["F", "m", "Female", " MALE ", "", None]})
    assert clinical.faults(table) == []
    assert clinical.typed(table)[keys.SEX].tolist() == ["F", "M", "F", "M", "", ""]
    assert faults(keys.SEX, "F", "1") == ["row 3: sex '1' is neither F nor M (nor female, male)"]


def test_typed_columns_are_numbers_with_gaps_and_others_stay_as_they_are() -> None:
    table = pd.DataFrame({keys.AGE_YEARS: ["54", ""], keys.AST_U_L: [40, 61], "note": ["007", ""]})
    typed = clinical.typed(table)
    np.testing.assert_array_equal(typed[keys.AGE_YEARS], [54.0, np.nan])
    assert typed[keys.AST_U_L].dtype == np.float64
    assert typed["note"].tolist() == ["007", ""]
    assert clinical.numbers(table).columns.tolist() == [keys.AGE_YEARS, keys.AST_U_L]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        (keys.AGE_YEARS, 12, "is unusual: 18 to 95 years are common"),
        (keys.LSM_KPA, 90, "is unusual: 1.5 to 75 kPa are common"),
        (keys.AST_U_L, 0.8, "looks given in µkat/L: multiply by 60"),
        (keys.ALT_U_L, 9000, "is unusual: 5 to 2000 U/L are common"),
    ],
)
def test_a_possible_but_unusual_value_warns_and_names_its_sample(
    column: str, value: float, words: str
) -> None:
    assert faults(column, value) == []
    assert warnings(column, 40, value) == [f"sample s1: {column} {value:g} {words}"]


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        (keys.LSM_KPA, np.linspace(0.9, 4.5, 30), "look given in m/s"),
        (keys.PLATELETS_1E9_L, np.linspace(8, 35, 30), "look given in 10^4/µL"),
    ],
)
def test_a_wrong_unit_that_only_the_whole_column_shows_is_one_sentence(
    column: str, values: np.ndarray, words: str
) -> None:
    (sentence,) = warnings(column, *values)
    assert sentence.startswith(f"all 30 values of {column} {words}")
    assert warnings(column, *values[5:10]) == []
    assert not any(words in other for other in warnings(column, *values, 40 * values[-1]))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(MEASURES), st.data())
def test_a_usual_value_is_never_reported(measure: Measure, data: st.DataObject) -> None:
    value = data.draw(st.floats(*measure.usual))
    assert faults(measure.column, value) == faults(measure.column, repr(value)) == []
    assert warnings(measure.column, value) == []


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.column)
def test_usual_values_are_possible_and_unit_errors_are_unusual(measure: Measure) -> None:
    assert measure.possible[0] <= measure.usual[0] < measure.usual[1] <= measure.possible[1]
    for slip in measure.unit_errors:
        assert slip.high < measure.usual[0] or slip.low > measure.usual[1]


def test_measured_values_are_logarithms_decades_and_zero_or_one_in_the_given_order() -> None:
    table = clinical.typed(
        pd.DataFrame(
            {
                keys.SEX: ["F", "m", ""],
                keys.LSM_KPA: [1.0, np.e, ""],
                keys.AGE_YEARS: ["", "50", "7"],
                keys.PLATELETS_1E9_L: [100, "", 200],
            }
        )
    )
    values = clinical.measured(table, [keys.AGE_YEARS, keys.LSM_KPA, keys.SEX, keys.AST_U_L])
    assert values.dtype == np.float32
    nan = np.nan
    np.testing.assert_allclose(values, [[nan, 0, 0, nan], [5, 1, 1, nan], [0.7, nan, nan, nan]], rtol=1e-6)
    assert clinical.measured(table, []).shape == (3, 0)
    np.testing.assert_allclose(
        clinical.measured(table, [keys.PLATELETS_1E9_L])[:, 0], np.log([100, nan, 200]), rtol=1e-6
    )


@given(st.sampled_from(MEASURES), st.data())
def test_any_possible_value_is_a_finite_input(measure: Measure, data: st.DataObject) -> None:
    value = data.draw(st.floats(*measure.possible))
    table = clinical.typed(pd.DataFrame({measure.column: [value]}))
    assert np.isfinite(clinical.measured(table, [measure.column])).all()


def test_a_column_without_a_value_is_not_known() -> None:
    table = pd.DataFrame({keys.LSM_KPA: ["", None], keys.SEX: ["", ""], keys.AST_U_L: ["", 40], "note": "x"})
    assert clinical.known(clinical.typed(table)) == [keys.AST_U_L]


def test_a_column_that_is_not_clinical_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'lsm'.*It is one of: age_years.*Did you mean lsm_kpa"):
        clinical.measured(pd.DataFrame({"lsm": [1.0]}), ["lsm"])


@pytest.mark.shared
def test_units_of_two_published_tables_are_recognised() -> None:
    if not TABULAR.is_dir():
        pytest.skip(f"the published tables are not beside the project ({TABULAR})")
    egypt = pd.read_csv(TABULAR / "hcv_egypt.csv").rename(columns={"Plat": keys.PLATELETS_1E9_L})
    (sentence,) = clinical.faults(egypt)
    assert "(1,385 in all)" in sentence
    assert "given per µL" in sentence
    mayo = pd.read_csv(TABULAR / "pbc_mayo.csv")
    mayo = mayo.rename(columns={"age": keys.AGE_YEARS, "sgot": keys.AST_U_L, "plat": keys.PLATELETS_1E9_L})
    (sentence,) = clinical.faults(mayo)
    assert "(293 in all)" in sentence
    assert "given in days" in sentence
