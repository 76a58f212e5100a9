"""The numbers as people read them: where a metric is named, rounded and set beside its floor."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from rich.table import Table

HEADLINE = ("accuracy", "macro_auc", "qwk")
MEASURES = ("sensitivity", "specificity", "precision", "npv", "lr_plus", "lr_minus", "f1", "auc")
AVERAGES = ("macro", "weighted")
PERCENTAGES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "ppv", "npv")
RATIOS = ("mae", "lr_plus", "lr_minus", "log_loss", "slope", "intercept", "mean_size")  # beyond 0 .. 1
RANKED = ("auc", "macro_auc", "weighted_auc", "qwk")
CHANCE = (0.0, 0.5)  # what a constant score reaches in them
TITLES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "qwk": "Quadratic weighted kappa",
    "mae": "Mean absolute error, in classes",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "auc": "AUC",
    "lr_plus": "LR+",
    "lr_minus": "LR\u2212",
    "obuchowski": "Obuchowski index",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "ece": "Expected calibration error",
}
FLOORS = {  # what scores without looking at the liver, by the audit's name
    "majority": "majority class",
    "hash_lookup": "hash look-up",
    "nearest_neighbour": "nearest neighbour",
    "size": "image size and format",
    "acquisition": "acquisition",
    "metadata": "metadata",
}
UNDEFINED = "not defined"
MINUS = "\u2212"
SPACE = "\u00a0"  # a number and its unit stay on one line


@dataclass(frozen=True)
class Row:
    """One metric with its interval, the highest floor known for it, and what else is on record (NaN: not)."""

    metric: str
    value: float
    low: float
    high: float
    floor: float
    floor_name: str = ""
    method: str = ""
    note: str = ""
    mean: float = math.nan
    sd: float = math.nan
    chance: float = math.nan
    p_chance: float = math.nan

    @property
    def title(self) -> str:
        """The metric's name in words."""
        return title(self.metric)

    @property
    def value_text(self) -> str:
        """The value alone, such as ``86.4 %``."""
        return quantity(self.value, self.metric)

    @property
    def interval_text(self) -> str:
        """The interval alone, such as ``[84.1, 87.9]``."""
        return interval(self.low, self.high, self.metric) if math.isfinite(self.value) else ""

    @property
    def spread_text(self) -> str:
        """Mean and SD over the resamples, such as ``86.1 ± 1.0``; empty where they are not known."""
        if not (math.isfinite(self.mean) and math.isfinite(self.sd)):
            return ""
        return f"{_rounded(self.mean, self.metric)} ± {_rounded(self.sd, self.metric)}"

    @property
    def floor_text(self) -> str:
        """The floor and where it comes from; empty where none is known."""
        if math.isnan(self.floor):
            return ""
        return f"{quantity(self.floor, self.metric)} ({self.floor_name})"

    @property
    def above_floor(self) -> bool | None:
        """Whether the whole interval lies above the floor; ``None`` where that cannot be known."""
        if self.value <= self.floor:
            return False
        if math.isnan(self.low) or math.isnan(self.floor):
            return None
        return self.low > self.floor

    @property
    def verdict(self) -> str:
        """The comparison with the floor in words."""
        words = {True: "above its floor", False: "NOT above its floor", None: "cannot be judged"}
        return words[self.above_floor]

    def __str__(self) -> str:
        return f"{self.value_text} {self.interval_text}".strip()


def title(metric: str) -> str:
    """The name of a metric in words; ``weighted_auc`` becomes ``Weighted AUC``."""
    for average in AVERAGES:
        if metric.startswith(f"{average}_"):
            measure = metric.removeprefix(f"{average}_")
            named = TITLES.get(measure, measure)
            word = named if named.upper() == named else named.lower()
            return f"{average.capitalize()} {word}"
    return TITLES.get(metric, metric.replace("_", " ").capitalize())


def percent(level: float) -> str:
    """A level of confidence in the digits that it was given, such as ``95 %`` or ``99.5 %``."""
    return f"{100 * level:.6g}{SPACE}%"


def quantity(value: float, metric: str) -> str:
    """A value with the digits and the unit of its metric: ``86.4 %``, ``.968``, ``0.31``."""
    if not math.isfinite(value):
        return UNDEFINED
    number = _rounded(value, metric)
    return f"{number}{SPACE}%" if _is_percentage(metric) else number


def interval(low: float, high: float, metric: str) -> str:
    """An interval in the digits of its metric, without the unit: ``[84.1, 87.9]``."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"[{UNDEFINED}]"
    return f"[{_rounded(low, metric)}, {_rounded(high, metric)}]"


def rows(metrics: pd.DataFrame, names: Sequence[str], floors: Mapping[str, Any] | None = None) -> list[Row]:
    """Metrics by name, in the order asked for; a name that was not measured is left out.

    Args:
        metrics: Columns metric, value and, where known, low, high, floor.
        names: Metrics to look up.
        floors: Further floors by name, each a number (its accuracy) or, as an audit writes them, a mapping
            of metrics such as ``{"accuracy": .71, "macro_auc": .63}``; the highest counts.

    Returns:
        A row a metric.
    """
    table = metrics.drop_duplicates("metric", keep="last").set_index("metric")
    found = []
    for name in names:
        if name not in table.index:
            continue
        value, low, high, floor = (
            _number(table, name, column) for column in ("value", "low", "high", "floor")
        )
        known = floor_values(floors or {}, name)
        # The table's own floor is the highest of them all; a constant answer ranks nothing.
        best = max(known.values(), default=-math.inf)
        ranked = name in RANKED or name.startswith("auc_")
        if floor > best or (floor == best and ranked and floor in CHANCE):
            known = {("chance" if ranked else "majority"): floor}
        source = max(known, key=lambda key: known[key], default="")
        method, note = (_text(table, name, column) for column in ("method", "note"))
        further = [_number(table, name, column) for column in ("mean", "sd", "chance", "p_chance")]
        best = known.get(source, math.nan)
        found.append(Row(name, value, low, high, best, floor_name(source), method, note, *further))
    return found


def floor_values(floors: Mapping[str, Any], metric: str) -> dict[str, float]:
    """What each floor of an audit reaches in one metric, see `rows`; a floor without it is left out."""
    metric = "macro_auc" if metric == "auc" else metric  # which it is of two classes
    found = {}
    for name, floor in floors.items():
        measured = floor if isinstance(floor, Mapping) else {"accuracy": floor}
        value = measured.get(metric)
        if isinstance(value, int | float) and math.isfinite(value):
            found[str(name)] = float(value)
    return found


def floors_of(audit: Mapping[str, Any]) -> Mapping[str, Any]:
    """The floors of a run's own split, as `rows` takes them, from what ``audit.json`` holds."""
    protocols = audit.get("protocols")
    own = protocols.get("run") if isinstance(protocols, Mapping) else None
    found = own or audit.get("floors")
    return found if isinstance(found, Mapping) else {}


def floor_name(name: str) -> str:
    """A floor in words."""
    return FLOORS.get(name, name.replace("_", " "))


def headline_names(metrics: pd.DataFrame) -> list[str]:
    """Names of the headline: of two classes, whose areas are one and the same, without their mean."""
    two = "auc" in set(metrics["metric"])
    return ["auc" if two and name == "macro_auc" else name for name in HEADLINE]


def headline(metrics: pd.DataFrame, floors: Mapping[str, Any] | None = None) -> list[Row]:
    """Accuracy, (macro) AUC and quadratic weighted kappa, with intervals and floors; see `rows`."""
    return rows(metrics, headline_names(metrics), floors)


def console_table(
    metrics: pd.DataFrame,
    floors: Mapping[str, Any] | None = None,
    level: float = 0.95,
    name: str = "Test",
) -> "Table":
    """The table that closes a run in the terminal.

    Args:
        metrics: As in `rows`.
        floors: As in `rows`.
        level: Coverage of the intervals.
        name: What stands above it.

    Returns:
        A rich table; a value that is not surely above its floor is marked.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=name, title_justify="left", title_style="bold")
    table.add_column("measure")
    for column in ("value", f"{percent(level)} CI", "floor"):
        table.add_column(column, justify="right")
    table.add_column("")
    for row in headline(metrics, floors):
        style = "green" if row.above_floor else "bold yellow"
        cells = [row.title, row.value_text, row.interval_text, row.floor_text or "not known"]
        table.add_row(
            *(Text(cell) for cell in cells), Text(row.verdict, style=style)
        )  # Text: no markup is read
    return table


def _number(table: pd.DataFrame, name: str, column: str) -> float:
    if column not in table:
        return math.nan
    return float(pd.to_numeric(pd.Series([table.loc[name, column]]), errors="coerce").iloc[0])


def _text(table: pd.DataFrame, name: str, column: str) -> str:
    value = table.loc[name, column] if column in table else ""
    return value if isinstance(value, str) else ""


def _measure(metric: str) -> str:
    for average in AVERAGES:
        metric = metric.removeprefix(f"{average}_")
    return metric


def _is_percentage(metric: str) -> bool:
    return _is_one_of(metric, PERCENTAGES)


def _is_one_of(metric: str, measures: Sequence[str]) -> bool:
    """Whether it is one of the measures, of all or of one class: ``macro_npv``, ``npv_F3``."""
    measure = _measure(metric)
    return any(measure == name or measure.startswith(f"{name}_") for name in measures)


def _rounded(value: float, metric: str) -> str:
    """Percentages with one digit, what may exceed 1 with two, all else with three and no leading zero."""
    percentage, unbounded = _is_percentage(metric), _is_one_of(metric, RATIOS)
    if percentage:
        text = f"{100 * value:.1f}"
    elif unbounded:
        text = f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"
    else:
        text = f"{value:.3f}"
    negative, digits = text.startswith("-") and float(text.replace(",", "")) != 0, text.removeprefix("-")
    if not (percentage or unbounded):
        digits = digits.removeprefix("0")
    return f"{MINUS}{digits}" if negative else digits
