"""The numbers as people read them: where a metric is named, rounded and set beside its baseline."""

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
BASELINES = {  # what scores without looking at the liver, by the audit's name
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
    """One metric with its interval, its highest baseline and what else is on record; NaN where unknown."""

    metric: str
    value: float
    low: float
    high: float
    baseline: float
    baseline_name: str = ""
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
    def baseline_text(self) -> str:
        """The baseline and where it comes from; empty where none is known."""
        if math.isnan(self.baseline):
            return ""
        return f"{quantity(self.baseline, self.metric)} ({self.baseline_name})"

    @property
    def above_baseline(self) -> bool | None:
        """Whether the whole interval lies above the baseline; ``None`` where that cannot be known."""
        if self.value <= self.baseline:
            return False
        if math.isnan(self.low) or math.isnan(self.baseline):
            return None
        return self.low > self.baseline

    @property
    def verdict(self) -> str:
        """The comparison with the baseline in words."""
        words = {True: "above its baseline", False: "NOT above its baseline", None: "cannot be judged"}
        return words[self.above_baseline]

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


def rows(
    metrics: pd.DataFrame, names: Sequence[str], baselines: Mapping[str, Any] | None = None
) -> list[Row]:
    """Metrics by name, in the order asked for; a name that was not measured is left out.

    Args:
        metrics: Columns metric, value and, where known, low, high, baseline.
        names: Metrics to look up.
        baselines: Further baselines by name, each a number (its accuracy) or, as an audit writes them, a
            mapping of metrics such as ``{"accuracy": .71, "macro_auc": .63}``; the highest counts.

    Returns:
        A row a metric.
    """
    table = metrics.drop_duplicates("metric", keep="last").set_index("metric")
    found = []
    for name in names:
        if name not in table.index:
            continue
        value, low, high, baseline = (
            _number(table, name, column) for column in ("value", "low", "high", "baseline")
        )
        known = baseline_values(baselines or {}, name)
        # The table's own baseline is the highest of them all; a constant answer ranks nothing.
        best = max(known.values(), default=-math.inf)
        ranked = name in RANKED or name.startswith("auc_")
        if baseline > best or (baseline == best and ranked and baseline in CHANCE):
            known = {("chance" if ranked else "majority"): baseline}
        source = max(known, key=lambda key: known[key], default="")
        method, note = (_text(table, name, column) for column in ("method", "note"))
        further = [_number(table, name, column) for column in ("mean", "sd", "chance", "p_chance")]
        best = known.get(source, math.nan)
        found.append(Row(name, value, low, high, best, baseline_name(source), method, note, *further))
    return found


def baseline_values(baselines: Mapping[str, Any], metric: str) -> dict[str, float]:
    """What each baseline of an audit reaches in one metric, see `rows`; a baseline without it is left out."""
    metric = "macro_auc" if metric == "auc" else metric  # which it is of two classes
    found = {}
    for name, baseline in baselines.items():
        measured = baseline if isinstance(baseline, Mapping) else {"accuracy": baseline}
        value = measured.get(metric)
        if isinstance(value, int | float) and math.isfinite(value):
            found[str(name)] = float(value)
    return found


def baselines_of(audit: Mapping[str, Any]) -> Mapping[str, Any]:
    """The baselines of a run's own split, as `rows` takes them, from what ``audit.json`` holds."""
    protocols = audit.get("protocols")
    own = protocols.get("run") if isinstance(protocols, Mapping) else None
    found = own or audit.get("baselines")
    return found if isinstance(found, Mapping) else {}


def baseline_name(name: str) -> str:
    """A baseline in words."""
    return BASELINES.get(name, name.replace("_", " "))


def headline_names(metrics: pd.DataFrame) -> list[str]:
    """Names of the headline: of two classes, whose areas are one and the same, without their mean."""
    two = "auc" in set(metrics["metric"])
    return ["auc" if two and name == "macro_auc" else name for name in HEADLINE]


def headline(metrics: pd.DataFrame, baselines: Mapping[str, Any] | None = None) -> list[Row]:
    """Accuracy, (macro) AUC and quadratic weighted kappa, with intervals and baselines; see `rows`."""
    return rows(metrics, headline_names(metrics), baselines)


def console_table(
    metrics: pd.DataFrame,
    baselines: Mapping[str, Any] | None = None,
    level: float = 0.95,
    name: str = "Test",
) -> "Table":
    """The table that closes a run in the terminal.

    Args:
        metrics: As in `rows`.
        baselines: As in `rows`.
        level: Coverage of the intervals.
        name: What stands above it.

    Returns:
        A rich table; a value that is not surely above its baseline is marked.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=name, title_justify="left", title_style="bold")
    table.add_column("measure")
    for column in ("value", f"{percent(level)} CI", "baseline"):
        table.add_column(column, justify="right")
    table.add_column("")
    for row in headline(metrics, baselines):
        style = "green" if row.above_baseline else "bold yellow"
        cells = [row.title, row.value_text, row.interval_text, row.baseline_text or "not known"]
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
