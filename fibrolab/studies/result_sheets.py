"""The tables of a study, from its results alone; README, page and LaTeX files show the same ones."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from fibrolab.evaluation.comparison.comparison_table import FOLDS
from fibrolab.reporting import numbers
from fibrolab.reporting.tables.sheet import Cell, Column, Line, Sheet, count, line, probability
from fibrolab.studies import results
from fibrolab.studies.definition import Study
from fibrolab.studies.results import NO_COMPARISON, Tables

SAMPLE = "sample"
OF_CLASS = "sensitivity_"
NONE = "none"  # network of a baseline


@dataclass(frozen=True)
class Part:
    """The results of one protocol and task.

    Attributes:
        study: The study.
        size: Its size.
        protocol: Name of the protocol.
        task: Name of the task; empty for that of the experiments.
        tables: The results, rows of this protocol and task only.
        published: Published results of all classes together, by arm, task and metric.
    """

    study: Study
    size: str
    protocol: str
    task: str
    tables: Tables
    published: pd.DataFrame

    @property
    def title(self) -> str:
        """Title of its tables."""
        label = self.study.protocols[self.protocol].label or self.protocol
        return f"Protocol {label}" + (f", {self.task}" if self.task else "")

    @property
    def tested(self) -> pd.DataFrame:
        """Trainings that finished."""
        table = self.tables["trainings"]
        return table[table["state"] == "finished"]

    @property
    def measures(self) -> list[str]:
        """Measures of the study that its task has; all where nothing was measured."""
        found = set(self.tables["metrics"]["metric"])
        return [name for name in self.study.measures if name in found] or list(self.study.measures)

    def label(self, arm: object) -> str:
        """Return the name of an arm, or of a marker, in tables."""
        return self.study.arms[str(arm)].label if str(arm) in self.study.arms else str(arm)

    def estimate(self, arm: str, metric: str) -> Mapping[str, float] | None:
        """Return value and interval of a measure of an arm on its test samples; None if not measured.

        Of several seeds it is the mean, and the interval contains the variance between them.
        """
        compared = self.tables["comparisons"]
        if "against" in compared:
            same = _overall(compared) & (compared["arm"] == arm) & (compared["against"] == "")
            same &= compared["metric"] == metric
            if same.any():
                return _ends(compared[same].iloc[0])
        table = self.tables["metrics"]
        rows = table[(table["arm"] == arm) & (table["metric"] == metric) & (table["level"] == SAMPLE)]
        return _ends(rows.iloc[0]) if len(rows) else None

    @property
    def differences(self) -> pd.DataFrame:
        """Differences between arms in the measures of the study: rows of `comparisons`."""
        table = self.tables["comparisons"]
        if "against" not in table:
            return table[:0]
        rows = table[_overall(table) & (table["against"] != "")]
        return rows[rows["metric"].isin(self.study.measures)]

    @property
    def baselines(self) -> pd.DataFrame:
        """Accuracy without a model, one row a baseline."""
        return self.tables["baselines"].drop_duplicates("baseline")

    @property
    def refused(self) -> str:
        """Reason why the arms were not compared; empty if they were."""
        table = self.tables["comparisons"]
        rows = table[table["family"] == NO_COMPARISON] if "family" in table else table[:0]
        return str(rows["note"].iloc[0]) if len(rows) else ""


def parts(study: Study, size: str, tables: Tables) -> list[Part]:
    """Return the results by protocol and task, in the order of the study."""
    rows = tables["trainings"][["protocol", "task"]].drop_duplicates()
    published = results.published(study)
    return [
        Part(
            study,
            size,
            protocol,
            task,
            {name: _at(table, protocol, task) for name, table in tables.items()},
            published,
        )
        for protocol, task in rows.to_numpy().tolist()
    ]


def arms(part: Part) -> Sheet:
    """Return the main table: a line an arm with its intervals and published numbers, then the baselines."""
    study, beside = part.study, _beside(part)
    measures = [numbers.title(name) for name in part.measures]
    titles = ["Network", *measures, *(f"{numbers.title(name)}, published" for name in beside)]
    width = len(titles)
    lines: list[Line] = []
    trainings = part.tables["trainings"]
    for arm in dict.fromkeys(trainings["arm"]):
        own = trainings[trainings["arm"] == arm]
        if not study.arms[arm].shown:
            continue
        if (own["state"] != "finished").all():
            lines.append(_filled(width, part.label(arm), f"did not finish: {own['error'].iloc[0]}"))
            continue
        cells = [_cell(part.estimate(arm, name), name) for name in part.measures]
        printed = [_of_paper(part, arm, name) for name in beside]
        lines.append(line(part.label(arm), str(own["network"].iloc[0]), *cells, *printed))
    lines += [
        _filled(width, part.label(arm), f"not run at this size: {reason}")
        for arm, reason in study.sizes[part.size].left_out(part.protocol).items()
    ]
    for row in part.baselines.to_dict("records"):
        shown = _cell(_ends(pd.Series(row)), "accuracy")
        cells = [shown if name == "accuracy" else Cell("") for name in part.measures]
        lines.append(line(numbers.baseline_name(str(row["baseline"])), NONE, *cells, *[""] * len(beside)))
    columns = [Column("Arm", False), Column("Network", False), *map(Column, titles[1:])]
    return Sheet(
        f"{part.title}: arms and baselines", _caption(part), columns, lines, notes=list(_notes(part))
    )


def differences(part: Part) -> Sheet:
    """Return the differences between arms, with corrected p values."""
    lines = [
        line(
            f"{part.label(row['arm'])} {numbers.MINUS} {part.label(row['against'])}",
            numbers.title(str(row["metric"])),
            _cell(_ends(pd.Series(row)), str(row["metric"])),
            probability(float(row["p_holm"])),
            strong=float(row["p_holm"]) < results.SIGNIFICANT,
        )
        for row in part.differences.to_dict("records")
    ]
    columns = [Column("Difference", False), Column("Measure", False), Column("Value"), Column("p, corrected")]
    empty = f"The arms were not compared: {part.refused}" if part.refused else ""
    caption = "Differences on the same test samples; p corrected by Holm's method over each family."
    return Sheet(f"{part.title}: differences", caption, columns, lines, empty=empty)


def seen(part: Part) -> Sheet:
    """Return the measures of each arm on the samples that trained and chose it, beside the test."""
    table = part.tables["metrics"]
    levels = [level for level in (*results.SEEN, SAMPLE) if level in set(table["level"])]
    lines = []
    for arm in dict.fromkeys(table["arm"]):
        for metric in part.study.measures:
            own = table[(table["arm"] == arm) & (table["metric"] == metric)].drop_duplicates("level")
            found = {str(row["level"]): _ends(pd.Series(row)) for row in own.to_dict("records")}
            cells = [_cell(found.get(level), metric) for level in levels]
            lines.append(line(part.label(arm), numbers.title(metric), *cells))
    titles = [{SAMPLE: "Test"}.get(level, level.capitalize()) for level in levels]
    columns = [Column("Arm", False), Column("Measure", False), *map(Column, titles)]
    caption = "First seed; a value on samples that trained or chose a network is no test of it."
    return Sheet(f"{part.title}: validation and test", caption, columns, lines if len(levels) > 1 else [])


def classes(part: Part) -> Sheet:
    """Return sensitivity and specificity of each class by each arm, with intervals."""
    table = part.tables["metrics"]
    lines: list[Line] = []
    for arm in dict.fromkeys(table["arm"]):
        own = table[(table["arm"] == arm) & (table["level"] == SAMPLE)].drop_duplicates("metric")
        found = {str(row["metric"]): _ends(pd.Series(row)) for row in own.to_dict("records")}
        for name in (metric.removeprefix(OF_CLASS) for metric in found if metric.startswith(OF_CLASS)):
            cells = [
                _cell(found.get(f"{metric}_{name}"), metric) for metric in ("sensitivity", "specificity")
            ]
            lines.append(line(part.label(arm), name, *cells))
    columns = [Column("Arm", False), Column("Class", False), Column("Sensitivity"), Column("Specificity")]
    return Sheet(f"{part.title}: classes", "Each class against the others, first seed.", columns, lines)


def apart(study: Study, tables: Tables) -> Sheet:
    """Return the published numbers whose network was not trained here."""
    published, trainings = results.published(study), tables["trainings"]
    own = set(trainings.loc[trainings["own_network"].astype(bool), "arm"])
    rows = published[~published["arm"].isin(own) & published["metric"].isin(study.measures)]
    names = [name for name in study.measures if name in set(rows["metric"])]
    lines = []
    for arm, task in rows[["arm", "task"]].drop_duplicates().to_numpy().tolist():
        label = study.arms[arm].label if arm in study.arms else arm
        lines.append(line(label, task, *(_printed(rows, arm, task, name) for name in names)))
    columns = [Column("Arm", False), Column("Task", False), *(Column(numbers.title(name)) for name in names)]
    caption = "Published, with networks that were not trained here; not comparable with the numbers above."
    return Sheet("Published numbers of other networks", caption, columns, lines)


def confusion(part: Part) -> Sheet:
    """Return the confusion matrix of each arm: test samples of all seeds by true and predicted class."""
    table = part.tables["confusion"]
    names = list(dict.fromkeys(map(str, table["predicted"]))) if len(table) else []
    lines = []
    for arm in dict.fromkeys(table["arm"]):
        own = table[table["arm"] == arm]
        counts = own.groupby(["true", "predicted"])["n"].sum()
        for true in dict.fromkeys(map(str, own["true"])):
            cells = [count(float(counts.get((true, name), 0))) for name in names]
            lines.append(line(part.label(arm), true, *cells))
    columns = [
        Column("Arm", False),
        Column("True class", False),
        *(Column(f"Predicted {name}") for name in names),
    ]
    return Sheet(f"{part.title}: confusion matrices", "Test samples of all seeds together.", columns, lines)


def related(study: Study) -> Sheet:
    """Return earlier results that the paper cites, from `related.csv` beside the study's file."""
    path = study.folder / results.RELATED_FILE
    table = pd.read_csv(path, dtype=str, keep_default_na=False) if path.is_file() else pd.DataFrame()
    lines = [
        line(
            " ".join(filter(None, [row["work"], row["year"] and f"({row['year']})"])),
            row["data"],
            ", ".join(filter(None, [row["arm"], row["task"], row["class"]])),
            numbers.title(row["metric"]),
            Cell(row["value"], f"[{row['low']}, {row['high']}]" if row["low"] else ""),
            row["source"],
        )
        for row in table.to_dict("records")
    ]
    columns = [Column(name, False) for name in ("Work", "Data", "Arm, task, class", "Measure")]
    columns += [Column("Value"), Column("Source", False)]
    caption = "As the paper cites them, on other patients; not comparable with the numbers above."
    return Sheet("Earlier results", caption, columns, lines)


def _at(table: pd.DataFrame, protocol: str, task: str) -> pd.DataFrame:
    return table[(table["protocol"] == protocol) & (table["task"] == task)]


def _overall(table: pd.DataFrame) -> pd.Series:
    """Return which rows of `comparisons` are of all classes and folds together, and of samples."""
    together = (table["of"] == "") & (table["fold"] == "") & (table["family"] != FOLDS)
    return together & (table["level"] == SAMPLE)


def _beside(part: Part) -> list[str]:
    """Return the measures whose published values stand beside ours: those of the paper's own networks."""
    trainings = part.tables["trainings"]
    own = set(trainings.loc[trainings["own_network"].astype(bool), "arm"])
    rows = part.published[part.published["arm"].isin(own) & _of_task(part.published, part.task)]
    return [name for name in part.study.measures if name in set(rows["metric"])]


def _of_task(published: pd.DataFrame, task: str) -> pd.Series:
    """Return which numbers are of a task, or of an arm on masks, which has no other one."""
    return published["task"].isin(["", task, "segmentation"])


def _of_paper(part: Part, arm: str, metric: str) -> Cell:
    table = part.tables["trainings"]
    own = table.loc[table["arm"] == arm, "own_network"].astype(bool).all()
    return _printed(part.published, arm, part.task, metric) if own else Cell("")


def _printed(published: pd.DataFrame, arm: str, task: str, metric: str) -> Cell:
    same = (published["arm"] == arm) & _of_task(published, task) & (published["metric"] == metric)
    if not same.any():
        return Cell("")
    row = published[same].iloc[0]
    return Cell(numbers.quantity(float(row["value"]), metric), str(row["where"]))


def _caption(part: Part) -> str:
    rows = part.tested.dropna(subset=["test"])
    if rows.empty:
        return part.title
    first, seeds = rows.iloc[0], rows["seed"].nunique()
    images, groups = int(first["test"]), int(first["test_groups"])
    return (
        f"{part.title}: {images:,} test images of {groups:,} independent groups of {first['data']}, {seeds} "
        f"seed{'s' if seeds > 1 else ''}, 95 % intervals over groups."
    )


def _notes(part: Part) -> Iterator[tuple[str, str]]:
    if leak := part.study.protocols[part.protocol].leaks:
        yield "", f"Not a valid test: {leak}."


def _cell(found: Mapping[str, float] | None, metric: str) -> Cell:
    if found is None:
        return Cell("")
    shown = numbers.interval(found["low"], found["high"], metric) if math.isfinite(found["low"]) else ""
    return Cell(numbers.quantity(found["value"], metric), shown)


def _ends(row: pd.Series) -> dict[str, float]:
    return {name: float(row[name]) for name in ("value", "low", "high")}


def _filled(width: int, *cells: str) -> Line:
    """Return a line whose other cells are empty; `width` is the number of cells after the first."""
    return line(*cells, *[""] * (width + 1 - len(cells)))
