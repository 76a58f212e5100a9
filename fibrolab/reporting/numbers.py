"""Numbers as pages print them: titles, digits and units of metrics, and metrics beside their baselines."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from fibrolab.evaluation import baselines as measured
from fibrolab.evaluation.measures import catalogue

if TYPE_CHECKING:
    from rich.table import Table

BASELINES = {  # predictors that do not look at the liver, by their name in audit.json
    "majority": "majority class",
    "hash_lookup": "hash look-up",
    "nearest_neighbour": "nearest neighbour",
    "size": "image size and format",
    "acquisition": "acquisition",
    "metadata": "metadata",
    "mean_mask": "mean training mask",
}
TWO_DECIMALS = ("slope", "intercept", "mean_size")  # of calibration and conformal sets, not limited to 0..1
NUMBERS = ("value", "low", "high", "baseline", "mean", "sd", "chance", "p_chance")  # columns of `rows`
AGREEMENT = "agreement with the classifier's maps, not with anatomy"
UNDEFINED = "not defined"
MINUS = "\u2212"
SPACE = "\u00a0"  # keeps a number and its unit on one line


@dataclass(frozen=True)
class Row:
    """One metric with its interval and its best baseline; NaN where unknown.

    Attributes:
        metric: Name as in `metrics.csv`.
        value: Value on the test part.
        low: Lower end of its interval.
        high: Upper end.
        baseline: Best of its baselines.
        baseline_name: Name of that baseline.
        method: Method of the interval.
        note: Why a number is NaN, or how it is limited.
        mean: Mean over the resamples.
        sd: SD over the resamples.
        chance: Accuracy of the constant prediction; of a class's sensitivity, the proportion called it.
        p_chance: One-sided p of a value above it.
    """

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
        """Title of the metric."""
        return title(self.metric)

    @property
    def value_text(self) -> str:
        """Value alone, such as ``86.4 %``."""
        return quantity(self.value, self.metric)

    @property
    def interval_text(self) -> str:
        """Interval alone, such as ``[84.1, 87.9]``; empty where the value is not defined."""
        return interval(self.low, self.high, self.metric) if math.isfinite(self.value) else ""

    @property
    def spread_text(self) -> str:
        """Mean and SD over the resamples, such as ``86.1 ± 1.0``; empty where they are not known."""
        if not (math.isfinite(self.mean) and math.isfinite(self.sd)):
            return ""
        return f"{_rounded(self.mean, self.metric)} ± {_rounded(self.sd, self.metric)}"

    @property
    def baseline_text(self) -> str:
        """Baseline and its name, such as ``41.0 % (majority class)``; empty where none is known."""
        if math.isnan(self.baseline):
            return ""
        return f"{quantity(self.baseline, self.metric)} ({self.baseline_name})"

    @property
    def above_baseline(self) -> bool | None:
        """Return whether the whole interval is better than the baseline; ``None`` where it is not known."""
        sign = _sign(self.metric)
        if sign * self.value <= sign * self.baseline:
            return False
        worst = self.low if sign > 0 else self.high
        if math.isnan(worst) or math.isnan(self.baseline):
            return None
        return sign * worst > sign * self.baseline

    @property
    def verdict(self) -> str:
        """Comparison with the baseline in words."""
        side = "above" if _sign(self.metric) > 0 else "below"
        words = {True: f"{side} its baseline", False: f"not {side} its baseline", None: "cannot be judged"}
        return words[self.above_baseline]

    def __str__(self) -> str:
        return f"{self.value_text} {self.interval_text}".strip()


def title(metric: str) -> str:
    """Return the title of a metric; ``weighted_auc`` becomes ``Weighted AUC``."""
    if metric.startswith(f"{catalogue.AGREEMENT}_"):
        return f"{title(metric.removeprefix(f'{catalogue.AGREEMENT}_'))}, {AGREEMENT}"
    for average in catalogue.AVERAGES:
        if metric.startswith(f"{average}_"):
            plain = metric.removeprefix(f"{average}_")
            named = _label(plain) or plain
            word = named if named.upper() == named else named.lower()
            return f"{average.capitalize()} {word}"
    return _label(metric) or metric.replace("_", " ").capitalize()


def percent(level: float) -> str:
    """Format a confidence level in the digits that it was given, such as ``95 %`` or ``99.5 %``."""
    return f"{100 * level:.6g}{SPACE}%"


def quantity(value: float, metric: str) -> str:
    """Format a value with the digits and the unit of its metric: ``86.4 %``, ``.968``, ``0.31``."""
    if not math.isfinite(value):
        return UNDEFINED
    number = _rounded(value, metric)
    return f"{number}{SPACE}%" if is_percentage(metric) else number


def interval(low: float, high: float, metric: str) -> str:
    """Format an interval with the digits of its metric, without the unit: ``[84.1, 87.9]``."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"[{UNDEFINED}]"
    return f"[{_rounded(low, metric)}, {_rounded(high, metric)}]"


def is_percentage(metric: str) -> bool:
    """Return whether pages print a metric as a percentage, such as ``macro_npv`` or ``npv_F3``."""
    record = catalogue.find(metric)
    return record is not None and record.percent


def rows(
    metrics: pd.DataFrame, names: Sequence[str], baselines: Mapping[str, Any] | None = None
) -> list[Row]:
    """Look up metrics by name, in the order of the names; one that was not measured is left out.

    Args:
        metrics: Columns metric, value and, where known, low, high, baseline.
        names: Metrics to look up.
        baselines: Further baselines by name, as `evaluation.baselines.of_audit` returns them; the best one
            is reported.

    Returns:
        A row a metric.
    """
    measured_names = metrics["metric"].tolist()

    def by_name(cells: pd.Series) -> dict[str, Any]:
        return dict(zip(measured_names, cells.tolist(), strict=True))  # of a name that repeats, the last

    texts = {name: by_name(metrics[name]) for name in ("method", "note") if name in metrics}
    values = {
        name: by_name(pd.to_numeric(metrics[name], errors="coerce")) for name in NUMBERS if name in metrics
    }
    found = []
    for name in names:
        if name not in values["value"]:
            continue
        value, low, high, baseline, *further = (
            float(values.get(column, {}).get(name, math.nan)) for column in NUMBERS
        )
        known = measured.in_metric(baselines or {}, name)
        record, sign = catalogue.find(name), _sign(name)
        constant = record.baseline if record is not None else None
        best = max((sign * each for each in known.values()), default=-math.inf)
        # The table's own baseline is the best of all; of equals, that of a constant prediction comes first.
        if sign * baseline > best or (sign * baseline == best and baseline == constant):
            other = "mean_mask" if record in catalogue.MASK_METRICS else "majority"
            known = {("chance" if isinstance(constant, int | float) else other): baseline}
        source = max(known, key=lambda key: sign * known[key], default="")
        method, note = (_text(texts.get(column, {}).get(name)) for column in ("method", "note"))
        best = known.get(source, math.nan)
        found.append(Row(name, value, low, high, best, baseline_name(source), method, note, *further))
    return found


def baseline_name(name: str) -> str:
    """Return a baseline in words."""
    return BASELINES.get(name, name.replace("_", " "))


def by_class_names() -> list[str]:
    """Return the names of the metrics of each class against the rest, such as ``sensitivity``."""
    return [metric.name for metric in catalogue.by_class()]


def headline_names(metrics: pd.DataFrame) -> list[str]:
    """Return the names of the headline metrics; of two classes, whose areas are equal, ``auc`` alone."""
    measured = set(metrics["metric"])
    named = catalogue.mask_headline()
    for names in (named, [catalogue.agreement(name) for name in named]):
        if measured.issuperset(names):
            return names
    two = "auc" in measured
    return ["auc" if two and name == "macro_auc" else name for name in catalogue.headline()]


def headline(metrics: pd.DataFrame, baselines: Mapping[str, Any] | None = None) -> list[Row]:
    """Look up the headline metrics with intervals and baselines; see `rows`."""
    return rows(metrics, headline_names(metrics), baselines)


def console_table(
    metrics: pd.DataFrame,
    baselines: Mapping[str, Any] | None = None,
    level: float = 0.95,
    name: str = "Test",
) -> "Table":
    """Make the table of the headline metrics that a run prints last.

    Args:
        metrics: As in `rows`.
        baselines: As in `rows`.
        level: Nominal coverage of the intervals.
        name: Title of the table.

    Returns:
        A rich table; a value that is not clearly better than its baseline is marked.
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
        # Text, since rich would read a string as markup.
        table.add_row(*(Text(cell) for cell in cells), Text(row.verdict, style=style))
    return table


def _text(cell: object) -> str:
    return cell if isinstance(cell, str) else ""


def _sign(metric: str) -> int:
    """Return 1 where higher is better, otherwise -1."""
    record = catalogue.find(metric)
    return 1 if record is None or record.higher_is_better else -1


def _label(metric: str) -> str:
    """Return the label of a metric of the catalogue by its exact name; empty for other names."""
    if metric in catalogue.SYNONYMS:
        return metric.upper()
    record = catalogue.find(metric)
    return record.label if record is not None and record.name == metric else ""


def _rounded(value: float, metric: str) -> str:
    """Format a value with the decimals of its metric.

    Percentages have one decimal, unbounded metrics two, others three and no leading zero.
    """
    record = catalogue.find(metric)
    percentage = is_percentage(metric)
    unbounded = metric in TWO_DECIMALS if record is None else record.unbounded
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
