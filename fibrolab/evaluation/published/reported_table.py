"""The table of a paper's numbers: its columns, its faults, and its rows as the rules read them."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from fibrolab.choices import unknown
from fibrolab.errors import DataError, listing
from fibrolab.evaluation.published.printed_numbers import Printed, parse

TEXTS = ("arm", "protocol", "task", "cohort", "fold", "class", "predicted", "against", "metric")
NUMBERS = ("value", "low", "high", "sd")
SIZES = ("n", "positive", "classes")
COLUMNS = (*TEXTS, *NUMBERS, *SIZES, "where", "note")
NEEDED = ("metric", "value")
SYNONYMS = {  # words of papers: name in the catalogue of metrics
    "ppv": "precision", "positive_predictive_value": "precision", "negative_predictive_value": "npv",
    "recall": "sensitivity", "tpr": "sensitivity", "true_positive_rate": "sensitivity",
    "tnr": "specificity", "true_negative_rate": "specificity",
    "f": "f1", "f_measure": "f1", "f1_score": "f1", "auroc": "auc", "roc_auc": "auc",
    "lr+": "lr_plus", "lr-": "lr_minus",
}  # fmt: skip
MEAN, POOLED, LOWEST, HIGHEST = "mean", "pooled", "lowest", "highest"  # words in the column `fold`
SUMMARIES = (MEAN, POOLED, LOWEST, HIGHEST)
PADDED = 6  # numbers of one place that all end in 0, from which the 0 is taken for padding
TWO = 2  # classes of an end point


@dataclass(frozen=True)
class Reported:
    """One number of a paper; empty cells are empty texts or None.

    Attributes:
        line: Line of the file, the header being line 1.
        arm: Model or marker.
        protocol: Protocol under which it was measured.
        task: End point or set of classes.
        cohort: Samples it was measured on.
        fold: Fold, or one of `SUMMARIES`.
        of_class: Class that is counted against the rest.
        predicted: Of a cell of a confusion matrix, the predicted class.
        against: Arm that is subtracted, for a difference.
        metric: Name in the catalogue of metrics, or `count`, `share`, `confusion` or `p`.
        value: The number.
        low: Lower end of its 95 % interval.
        high: Upper end.
        sd: Standard deviation.
        n: Number of independent samples.
        positive: Number of them in the class, or in the positive class of an end point.
        classes: Number of classes of the task.
        where: Place in the paper.
        note: Remark.
    """

    line: int
    arm: str
    protocol: str
    task: str
    cohort: str
    fold: str
    of_class: str
    predicted: str
    against: str
    metric: str
    value: Printed
    low: Printed | None
    high: Printed | None
    sd: Printed | None
    n: int | None
    positive: int | None
    classes: int | None
    where: str
    note: str

    @property
    def test(self) -> tuple[str, ...]:
        """Arm and samples, on which all numbers come from one set of predictions."""
        return self.arm, self.protocol, self.task, self.cohort, self.fold

    @property
    def samples(self) -> tuple[str, ...]:
        """Samples, on which several arms are tested."""
        return self.protocol, self.task, self.cohort, self.fold

    @property
    def quantity(self) -> tuple[str, ...]:
        """Everything that names the quantity whose value is printed."""
        return *self.test, self.of_class, self.predicted, self.against, self.metric

    @property
    def is_two_by_two(self) -> bool:
        """Return whether it is measured on a table of two true and two predicted conditions."""
        return not self.against and bool(self.of_class or self.classes == TWO)

    @property
    def is_average(self) -> bool:
        """Return whether it is a mean over folds, which is no proportion of samples."""
        return self.fold in (MEAN, LOWEST, HIGHEST) or self.sd is not None

    @property
    def interval(self) -> str:
        """The interval as printed; empty if there is none."""
        return f"{self.low.text} to {self.high.text}" if self.low and self.high else ""

    @property
    def name(self) -> str:
        """Words for a sentence, such as `sensitivity of F4 0.96 (hybrid, test, line 7)`."""
        cell = f"{self.of_class} called {self.predicted}" if self.predicted else self.of_class
        of = f" of {cell}" if cell else ""
        less = f" less {self.against}" if self.against else ""
        fold = f" {self.fold}" if self.fold in SUMMARIES else f" fold {self.fold}" if self.fold else ""
        places = ", ".join(each for each in (f"{self.arm}{less}", self.task, f"{self.cohort}{fold}") if each)
        return f"{self.metric}{of} {self.value.text} ({places}, line {self.line})"


@dataclass(frozen=True)
class Known:
    """One quantity: the range of exact values that all its printed numbers leave, and their rows."""

    low: float
    high: float
    rows: tuple[Reported, ...]

    @property
    def row(self) -> Reported:
        """The row whose number is printed with most digits."""
        return min(self.rows, key=lambda row: row.value.high - row.value.low)

    @property
    def text(self) -> str:
        """The number as it is printed there."""
        return self.row.value.text

    @property
    def lines(self) -> tuple[int, ...]:
        """Lines of the file that print it."""
        return tuple(row.line for row in self.rows)


def read(path: str | Path) -> pd.DataFrame:
    """Read a table of published numbers from CSV, all cells as text, since `0.70` says more than `0.7`.

    Raises:
        DataError: The file cannot be read as a table.
    """
    if not Path(path).is_file():
        raise DataError(f"There is no file {path}: give a CSV table of published numbers.")
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path} cannot be read as a CSV table of published numbers: {error}.") from error


def reported(table: pd.DataFrame) -> list[Reported]:
    """Return the rows of a table.

    Args:
        table: Columns `metric` and `value`, optionally others of `COLUMNS`; cells as text, as of `read`.

    Raises:
        DataError: Columns or cells that cannot be used; all faults at once.
    """
    faults = [unknown("column", name, COLUMNS) for name in table if name not in COLUMNS]
    faults += [f"The column '{name}' is missing." for name in NEEDED if name not in table]
    if faults:
        raise DataError(_together(faults))
    cells = table.reindex(columns=list(COLUMNS), fill_value="").fillna("").astype(str)
    rows = []
    for line, row in enumerate(cells.to_dict("records"), start=2):
        values = {str(name): str(cell).strip() for name, cell in row.items()}
        if found := list(_faults(values)):
            faults += [f"line {line}: {fault}" for fault in found]
        else:
            rows.append(_row(line, values))
    if faults:
        raise DataError(_together(faults))
    return _without_padding(rows)


def known(rows: Sequence[Reported], name: Callable[[Reported], str]) -> dict[str, Known]:
    """Return the quantities by name; a quantity that is printed twice is known by both numbers.

    Where the numbers contradict each other, which `contradictions` reports, the first one counts.
    """
    found: dict[str, Known] = {}
    for row in rows:
        if row.value.is_bound:
            continue
        if name(row) not in found:
            found[name(row)] = Known(row.value.low, row.value.high, (row,))
        else:
            before = found[name(row)]
            low, high = max(before.low, row.value.low), min(before.high, row.value.high)
            if low <= high:
                found[name(row)] = Known(low, high, (*before.rows, row))
    return found


def grouped(
    rows: Sequence[Reported], by: Callable[[Reported], tuple]
) -> Iterator[tuple[tuple, list[Reported]]]:
    """Yield the rows by a key, in the order of the file."""
    groups: dict[tuple, list[Reported]] = {}
    for row in rows:
        groups.setdefault(by(row), []).append(row)
    yield from groups.items()


def distinct(rows: Sequence[Reported]) -> list[Reported]:
    """Return the rows without those that print the same number of the same quantity once more."""
    found: dict[tuple, Reported] = {}
    for row in rows:
        texts = [each and each.text for each in (row.value, row.low, row.high, row.sd)]
        found.setdefault((row.quantity, *texts, row.n, row.positive), row)
    return list(found.values())


def class_sizes(rows: Sequence[Reported], of: Reported) -> dict[str, int]:
    """Return the number of samples of each class where `of` was measured, from rows of the metric `count`.

    Rows without an arm hold for all arms, rows without a fold for each fold; sizes of the folds, which are
    equal then, stand for those of their mean and of the pooled folds.

    Returns:
        Numbers by class, above 0; empty if fewer classes are counted than the task has.
    """
    for fold in dict.fromkeys((of.fold, "")):
        found = {
            row.of_class: round(row.value.value)
            for row in rows
            if row.metric == "count"
            and row.of_class
            and round(row.value.value) > 0
            and row.arm in ("", of.arm)
            and (row.protocol, row.task, row.cohort, row.fold) == (of.protocol, of.task, of.cohort, fold)
        }
        if len(found) >= max(TWO, of.classes or 0):
            return found
    return {}


def plain_name(metric: str) -> str:
    """Return the name of a metric in the catalogue, for words that papers use, such as `Recall`."""
    name = re.sub(r"[\s-]+(?!$)", "_", metric.strip().lower())
    return SYNONYMS.get(name, name)


def _without_padding(rows: Sequence[Reported]) -> list[Reported]:
    """Return the rows, a last digit that is 0 in every number of one place counting as not printed.

    A passage that gives 87.0, 83.0, 85.0 ... rounded to whole numbers first.
    """
    found = {row.line: row for row in rows}
    for (_, decimals), group in grouped(rows, lambda row: (row.where, row.value.decimals)):
        padded = [row for row in group if not row.value.is_bound and row.value.text.rstrip("%").endswith("0")]
        if decimals and len(group) == len(padded) >= PADDED:
            for row in padded:
                found[row.line] = replace(row, value=row.value.padded(), sd=row.sd and row.sd.padded())
    return list(found.values())


def _faults(cells: dict[str, str]) -> Iterator[str]:
    """Yield a sentence on each cell that cannot be used."""
    if not cells["metric"]:
        yield "the metric is missing."
    for name in NUMBERS:
        if (cells[name] or name == "value") and parse(cells[name]) is None:
            yield f"{name} is '{cells[name]}': give a number such as 0.86, 86.0%, <0.001 or ~0.13."
    for name in SIZES:
        if cells[name] and not re.fullmatch(r"\d+", cells[name]):
            yield f"{name} is '{cells[name]}': give a whole number."
        elif cells[name] and int(cells[name]) < (TWO if name == "classes" else 1):
            yield f"{name} is {cells[name]}: the least is {TWO if name == 'classes' else 1}."
    if bool(cells["low"]) != bool(cells["high"]):
        yield "an interval needs both low and high."
    if cells["n"].isdigit() and cells["positive"].isdigit() and int(cells["positive"]) >= int(cells["n"]):
        yield f"positive={cells['positive']} leaves none of n={cells['n']} negative."
    if cells["predicted"] and not cells["class"]:
        yield "a predicted class needs the true one in the column class."
    if plain_name(cells["metric"]) == "confusion" and not (cells["class"] and cells["predicted"]):
        yield "a cell of a confusion matrix needs class and predicted."


def _row(line: int, cells: dict[str, str]) -> Reported:
    value = parse(cells["value"])
    assert value is not None, "checked"
    return Reported(
        line=line,
        arm=cells["arm"],
        protocol=cells["protocol"],
        task=cells["task"],
        cohort=cells["cohort"],
        fold=cells["fold"],
        of_class=cells["class"],
        predicted=cells["predicted"],
        against=cells["against"],
        metric=plain_name(cells["metric"]),
        value=value,
        low=parse(cells["low"]),
        high=parse(cells["high"]),
        sd=parse(cells["sd"]),
        n=_size(cells["n"]),
        positive=_size(cells["positive"]),
        classes=_size(cells["classes"]),
        where=cells["where"],
        note=cells["note"],
    )


def _size(cell: str) -> int | None:
    return int(cell) if cell else None


def _together(faults: list[str]) -> str:
    if len(faults) == 1:
        return f"The table of published numbers cannot be used: {faults[0]}"
    return f"The table of published numbers has {len(faults)} faults:\n{listing(faults)}"
