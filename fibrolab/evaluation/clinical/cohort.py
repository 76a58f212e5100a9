"""Characteristics of the patients by partition, with tests of training against test: a paper's Table 1."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.evaluation.clinical import markers
from fibrolab.evaluation.clinical.cohort_tests import Difference, of_counts, of_numbers, roughly_normal
from fibrolab.evaluation.clinical.comparators import stage_of
from fibrolab.evaluation.clinical.markers import MARKERS
from fibrolab.evaluation.clinical.subgroups import OTHER, UNKNOWN, commonest

COLUMNS = ("variable", "statistic", *keys.PARTITIONS, "p", "test_name", "note")
# In the order of the table; those not in NAMES are numbers.
VARIABLES: Final = (
    keys.AGE_YEARS, keys.SEX, keys.LSM_KPA, keys.AST_U_L, keys.ALT_U_L, keys.PLATELETS_1E9_L,
    "apri", "fib4", keys.SITE, keys.SCANNER,
)  # fmt: skip
NAMES: Final = (keys.SEX, keys.SITE, keys.SCANNER)
OURS: Final = {name for name in vars(keys).values() if isinstance(name, str)}  # columns with another meaning
MOST_VALUES = 5  # values of a text column of the user's table up to which it is shown
ENOUGH = 10  # known patients a value that such a column needs, and of distinct whole numbers that are ids

Row = dict[str, object]


def table(manifest: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Describe the cohort by partition, each patient counted once by its first row.

    Numbers are given as mean and SD where Shapiro and Wilk's test rejects normality neither in training nor
    in test (`cohort_tests.roughly_normal`), otherwise as median and quartiles; p compares training with
    test (`cohort_tests.of_numbers`, `cohort_tests.of_counts`). It is not corrected for multiple tests: with
    a random split, one test in twenty is below .05. Missing values are counted in a row of their own, and
    left out of percentages and tests.

    Args:
        manifest: The run's manifest, clinical columns as numbers, index `sample_id`, with the column
            `partition`. The class is that of the task (`y_true`) if there is such a column, else `label`.
        classes: Names of the classes.

    Returns:
        Columns `COLUMNS`, cells of partitions as text: patients, samples, samples a patient, stages, those
        of `VARIABLES` with a known value, and further columns of the user's table (`further`). Without known
        patients, samples are counted.

    Raises:
        DataError: The column `partition` is missing, or a class has no name.
    """
    if keys.PARTITION not in manifest:
        raise DataError(f"The cohort has no column '{keys.PARTITION}': join the run's split to its manifest.")
    who = _patients(manifest)
    first = _filled(manifest)[~pd.DataFrame({"who": who, "part": manifest[keys.PARTITION]}).duplicated()]
    rows = [*_sizes(manifest, who), *_stages(first, classes)]
    for name in (name for name in VARIABLES if name in first):
        rows += _categories(first, name) if name in NAMES else _number(first, name)
    for name, values in further(first).items():
        own = first.assign(**{name: values})
        rows += _number(own, name) if pd.api.types.is_float_dtype(values) else _categories(own, name)
    return pd.DataFrame(_with_caveats(rows, manifest, who), columns=list(COLUMNS))


def further(first: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the columns of the user's own table that describe patients, such as albumin or tumours.

    These are columns of numbers, those of 0 and 1 as text, and columns of a few texts. Columns of one value,
    of remarks, and of ids, whose values are almost all distinct, are left out.

    Args:
        first: One row a patient.
    """
    found: dict[str, pd.Series] = {}
    for name in (str(name) for name in first if name not in OURS and name not in VARIABLES):
        texts = first[name].astype(object).where(first[name].notna(), "").astype(str).str.strip()
        known = texts[texts != ""]
        numbers = pd.to_numeric(known, errors="coerce")
        if known.nunique() < 2:
            continue
        if np.isfinite(numbers).all() and numbers.nunique() > 2:
            ids = numbers.is_unique and len(numbers) >= ENOUGH and (numbers % 1 == 0).all()
            if not ids:
                found[name] = numbers.astype(np.float64).reindex(first.index)
        elif known.nunique() <= MOST_VALUES and len(known) >= ENOUGH * known.nunique():
            found[name] = texts
    return found


def _patients(manifest: pd.DataFrame) -> pd.Series:
    """Return the patient of each sample; a sample without one counts as a patient of its own."""
    alone = pd.Series("\0" + manifest.index.astype(str), index=manifest.index)
    if keys.PATIENT_ID not in manifest:
        return alone
    names = manifest[keys.PATIENT_ID].fillna("").astype(str)
    return names.where(names != "", alone)


def _filled(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest with the values of each visit in all its rows, and the serum markers."""
    visits = markers.whole_visits(manifest)
    table = manifest.assign(**{str(name): visits[name] for name in visits if name in manifest})
    return table.assign(**{name: MARKERS[name].of(table) for name in ("apri", "fib4")})


def _sizes(manifest: pd.DataFrame, who: pd.Series) -> Iterator[Row]:
    """Yield the rows of patients, samples, and samples a patient."""
    counts = {part: who[(manifest[keys.PARTITION] == part).to_numpy()] for part in keys.PARTITIONS}
    alone = int(who.str.startswith("\0").sum())
    if alone < len(who):
        note = f"{alone:,} samples without a patient count as one each" if alone else ""
        yield _row("patients", "n", {part: f"{each.nunique():,}" for part, each in counts.items()}, note=note)
    note = "no patient is known: the rows below count samples" if alone == len(who) else ""
    yield _row("samples", "n", {part: f"{len(each):,}" for part, each in counts.items()}, note=note)
    if alone < len(who):
        each_has = {part: each.value_counts().to_numpy(np.float64) for part, each in counts.items()}
        cells = {part: _quartiles(sizes, 0) for part, sizes in each_has.items()}
        yield _row("samples a patient", "median (IQR)", cells)


def _stages(first: pd.DataFrame, classes: Sequence[str]) -> Iterator[Row]:
    column = keys.Y_TRUE if keys.Y_TRUE in first else keys.LABEL
    numbers = first[column].astype(np.int64)
    if not numbers.isin(range(len(classes))).all():
        raise DataError(
            f"The manifest's {column} holds a class beyond {', '.join(classes)}: name all of them."
        )
    variable = "stage" if all(stage_of(name) is not None for name in classes) else "class"
    yield from _counts(first, variable, numbers.map(dict(enumerate(classes))), list(classes))


def _categories(first: pd.DataFrame, name: str) -> Iterator[Row]:
    values = commonest(first[name])
    known = sorted(set(values) - {UNKNOWN}, key=lambda value: (value == OTHER, value))
    if known:
        yield from _counts(first, name, values, known)


def _counts(first: pd.DataFrame, variable: str, values: pd.Series, known: list[str]) -> Iterator[Row]:
    """Yield a row a value, the first one with the test, and a row of missing values."""
    counts = pd.crosstab(values, first[keys.PARTITION]).reindex(
        index=[*known, UNKNOWN], columns=list(keys.PARTITIONS), fill_value=0
    )
    found = of_counts(counts.loc[known, [keys.TRAIN, keys.TEST]].to_numpy())
    totals = counts.loc[known].sum()
    for value in known:
        cells = {part: _count(int(counts[part][value]), int(totals[part])) for part in keys.PARTITIONS}
        yield _row(variable, f"{value}, n (%)", cells, found if value == known[0] else None)
    yield from _missing(variable, {part: int(counts[part][UNKNOWN]) for part in keys.PARTITIONS})


def _number(first: pd.DataFrame, name: str) -> Iterator[Row]:
    """Yield a row of mean and SD or median and quartiles with the test, and a row of missing values."""
    partition = first[keys.PARTITION]
    values = {part: first.loc[partition == part, name].to_numpy(np.float64) for part in keys.PARTITIONS}
    known = {part: each[np.isfinite(each)] for part, each in values.items()}
    if not (everyone := np.concatenate(list(known.values()))).size:
        return
    decimals = 0 if (middle := float(np.median(everyone))) >= 100 else 1 if middle >= 10 else 2
    normal = roughly_normal(known[keys.TRAIN], known[keys.TEST])
    summary = _mean if normal else _quartiles
    cells = {part: summary(each, decimals) for part, each in known.items()}
    found = of_numbers(known[keys.TRAIN], known[keys.TEST], normal)
    yield _row(name, "mean ± SD" if normal else "median (IQR)", cells, found)
    yield from _missing(name, {part: len(values[part]) - len(known[part]) for part in keys.PARTITIONS})


def _missing(variable: str, counts: dict[str, int]) -> Iterator[Row]:
    if any(counts.values()):
        yield _row(variable, "missing, n", {part: f"{counts[part]:,}" for part in keys.PARTITIONS})


def _with_caveats(rows: list[Row], manifest: pd.DataFrame, who: pd.Series) -> list[Row]:
    """Remove tests of overlapping partitions, and note tests of samples instead of patients."""
    parts = [set(who[(manifest[keys.PARTITION] == part).to_numpy()]) for part in (keys.TRAIN, keys.TEST)]
    tested = [row for row in rows if row["test_name"]]
    if both := len(parts[0] & parts[1]):
        why = f"no test: {both:,} patients are in both training and test"
        for row in tested:
            row |= {"p": math.nan, "test_name": "", "note": why}
    elif who.str.startswith("\0").all():
        for row in tested:
            row["note"] = (
                "samples are tested as if each were a patient: p is too small where patients have several"
            )
    return rows


def _row(
    variable: str, statistic: str, cells: dict[str, str], found: Difference | None = None, note: str = ""
) -> Row:
    found = found or Difference(math.nan, note=note)
    tested = {"p": found.p, "test_name": found.name, "note": found.note}
    return {"variable": variable, "statistic": statistic} | cells | tested


def _count(count: int, of: int) -> str:
    return f"{count:,} ({100 * count / of:.1f} %)" if of else "0"


def _mean(values: np.ndarray, decimals: int) -> str:
    if len(values) < 2:
        return "".join(f"{value:.{decimals}f}" for value in values)
    return f"{values.mean():.{decimals}f} ± {values.std(ddof=1):.{decimals}f}"


def _quartiles(values: np.ndarray, decimals: int) -> str:
    if not len(values):
        return ""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.{decimals}f} ({low:.{decimals}f} to {high:.{decimals}f})"
