"""Clinical columns: units, possible and usual ranges, likely unit errors, conversion to inputs."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.choices import refuse, unknown
from fibrolab.data import written_numbers
from fibrolab.data.fault_sentences import cell_faults

SEX: Final = {"f": "F", "female": "F", "m": "M", "male": "M"}  # accepted in any case, kept as F and M
_ENOUGH = 20  # least number of values for a conclusion about a whole column
_YEARS = 10  # in a decade


class UnitError(NamedTuple):
    """Range of values that suggests another unit, ends included, and the advice for it."""

    low: float
    high: float
    words: str


class Measure(NamedTuple):
    """One clinical column.

    Attributes:
        column: Its name.
        unit: Unit of its values.
        possible: Lowest and highest value that a patient can have; any other value is refused.
        usual: Usual range; the audit warns of any other value.
        unit_errors: Wrong units that give values out of the possible or the usual range.
        column_error: A wrong unit that shows only if all values of the column are within its range.
    """

    column: str
    unit: str
    possible: tuple[float, float]
    usual: tuple[float, float]
    unit_errors: tuple[UnitError, ...] = ()
    column_error: UnitError | None = None


_KATAL = "given in µkat/L: multiply by 60"  # 1 U = 1 µmol/min, 1 kat = 1 mol/s

# Usual ranges: liver stiffness as FibroScan measures it, 1.5 to 75 kPa (Castera, Forns and Alberti, J Hepatol
# 48:835, 2008); units of enzymes and platelets as in FIB-4 (Sterling et al., Hepatology 43:1317, 2006) and
# APRI (Wai et al., Hepatology 38:518, 2003). The possible ranges are our choice, and wide.
MEASURES: Final = (
    Measure(
        keys.AGE_YEARS,
        "years",
        possible=(0, 120),
        usual=(18, 95),
        unit_errors=(
            UnitError(1900, 2100, "like a year of birth: give the age at the visit"),
            UnitError(121, 1440, "given in months: divide by 12"),
            UnitError(2101, 43830, "given in days: divide by 365.25"),
        ),
    ),
    Measure(
        keys.LSM_KPA,
        "kPa",
        possible=(0.5, 300),
        usual=(1.5, 75),
        unit_errors=(UnitError(500, 300_000, "given in Pa: divide by 1000"),),
        # An elastogram's modulus is E = 3 rho v^2, so 0.7 to 5 m/s are 1.5 to 75 kPa.
        column_error=UnitError(
            0.5, 5, "given in m/s: the stiffness in kPa is 3 times the square of the speed"
        ),
    ),
    Measure(
        keys.AST_U_L,
        "U/L",
        possible=(0.05, 50_000),
        usual=(5, 2000),
        unit_errors=(UnitError(0.05, 2, _KATAL),),
    ),
    Measure(
        keys.AST_ULN_U_L, "U/L", possible=(10, 200), usual=(25, 80), unit_errors=(UnitError(0.2, 2, _KATAL),)
    ),
    Measure(
        keys.ALT_U_L,
        "U/L",
        possible=(0.05, 50_000),
        usual=(5, 2000),
        unit_errors=(UnitError(0.05, 2, _KATAL),),
    ),
    Measure(
        keys.PLATELETS_1E9_L,
        "10^9/L",
        possible=(1, 3000),
        usual=(10, 1000),
        unit_errors=(UnitError(3001, 3_000_000, "given per µL: divide by 1000"),),
        column_error=UnitError(1, 60, "given in 10^4/µL: multiply by 10"),
    ),
)

COLUMNS: Final = (*(measure.column for measure in MEASURES), keys.SEX)


def numbers(table: pd.DataFrame) -> pd.DataFrame:
    """Return the clinical columns of the table as float64 (N, C); NaN where there is no number.

    Text is read by `written_numbers.read`: with decimal points or commas.
    """
    return pd.DataFrame({column: found.values for column, found in _read(table).items()}, index=table.index)


def _read(table: pd.DataFrame) -> dict[str, written_numbers.Numbers]:
    columns = (measure.column for measure in MEASURES if measure.column in table)
    return {column: written_numbers.read(table[column]) for column in columns}


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with its clinical columns as float64, and sex as `F`, `M` or empty."""
    columns = {column: found.values for column, found in _read(table).items()}
    if keys.SEX in table:
        columns[keys.SEX] = _text(table[keys.SEX]).str.lower().map(SEX).fillna("").astype(str)
    return table.assign(**columns) if columns else table


def known(table: pd.DataFrame) -> list[str]:
    """Return the clinical columns of a checked manifest in which some sample has a value."""
    return [name for name in COLUMNS if name in table and (table[name].notna() & (table[name] != "")).any()]


def measured(table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Return the clinical inputs of a network, on scales on which equal differences have equal meaning.

    Stiffness, enzymes and platelets differ by factors between patients and stages and are therefore given as
    natural logarithms; age is given in decades, sex as 0 (F) or 1 (M).

    Args:
        table: A checked manifest's table of N samples.
        columns: D of `COLUMNS`, in the order of the result.

    Returns:
        float32 (N, D); NaN where nothing was measured and in every row of a column that the table lacks.

    Raises:
        ConfigError: A column that is not clinical.
    """
    refuse([unknown("clinical", name, COLUMNS) for name in columns if name not in COLUMNS])
    values = np.full((len(table), len(columns)), np.nan, np.float32)
    for position, name in enumerate(columns):
        if name not in table:
            continue
        if name == keys.SEX:
            values[:, position] = table[name].map({"F": 0.0, "M": 1.0})
        elif name == keys.AGE_YEARS:
            values[:, position] = table[name] / _YEARS
        else:
            values[:, position] = np.log(table[name])
    return values


def faults(table: pd.DataFrame) -> list[str]:
    """Return sentences on cells that are not a number or are impossible, with their rows.

    Args:
        table: A manifest's columns, as text or as numbers; empty cells are allowed. Its index names the rows.
    """
    sentences: list[str] = []
    found = _read(table)
    commas = any("," in read.marks for read in found.values())
    for measure in (measure for measure in MEASURES if measure.column in found):
        column, values = measure.column, found[measure.column].values
        either = written_numbers.two_readings(table[column], found[measure.column], commas)
        sentences += written_numbers.faults(column, _text(table[column][either]))
        cells = _text(table[column][~np.isfinite(values) & ~either])
        sentences += cell_faults(column, cells[cells != ""], "is", f"not a number in {measure.unit}")
        low, high = measure.possible
        beyond = values[np.isfinite(values) & ~either & ~values.between(low, high)]
        sentences += _out_of_range(measure, beyond, f"not possible: {low:g} to {high:g} {measure.unit} are")
    if keys.SEX in table:
        cells = _text(table[keys.SEX])
        wrong = cells[(cells != "") & ~cells.str.lower().isin(list(SEX))]
        sentences += cell_faults(keys.SEX, wrong, "is", "neither F nor M (nor female, male)")
    return sentences


def implausible(table: pd.DataFrame) -> list[str]:
    """Return sentences on values that are possible but unusual, to be checked by a person.

    Args:
        table: A checked manifest's table; its `sample_id` names the values.
    """
    sentences: list[str] = []
    found = numbers(table.set_index(keys.SAMPLE_ID))
    for measure in (measure for measure in MEASURES if measure.column in found):
        given, error = found[measure.column].dropna(), measure.column_error
        if error and len(given) >= _ENOUGH and given.between(error.low, error.high).all():
            sentences.append(f"all {len(given):,} values of {measure.column} look {error.words}")
            continue
        low, high = measure.usual
        words = f"unusual: {low:g} to {high:g} {measure.unit} are common"
        sentences += _out_of_range(measure, given[~given.between(low, high)], words, "sample")
    return sentences


def _out_of_range(measure: Measure, values: pd.Series, words: str, kind: str = "row") -> Iterator[str]:
    """Yield sentences on values out of range; values that suggest another unit get sentences of their own."""
    for error in measure.unit_errors:
        suspected = values.between(error.low, error.high)
        yield from cell_faults(measure.column, values[suspected], "looks", error.words, kind)
        values = values[~suspected]
    yield from cell_faults(measure.column, values, "is", words, kind)


def _text(cells: pd.Series) -> pd.Series:
    return cells.astype(object).where(cells.notna(), "").astype(str).str.strip()
