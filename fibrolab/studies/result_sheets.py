"""The tables of a study, from its results alone; README, page and LaTeX files show the same ones."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from fibrolab import keys
from fibrolab.evaluation.comparison.arms import END_POINTS
from fibrolab.evaluation.comparison.comparison_table import ANOVA, COMPARATORS, FOLDS
from fibrolab.evaluation.comparison.fold_by_fold import OF_CLASSES as MEASURES_OF_CLASSES
from fibrolab.evaluation.measures import catalogue
from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.tables.comparison import of_variance
from fibrolab.reporting.tables.population import characteristics
from fibrolab.reporting.tables.sheet import Cell, Column, Line, Sheet, count, line, probability
from fibrolab.studies import results
from fibrolab.studies.definition import Study
from fibrolab.studies.results import NO_COMPARISON, Tables

SAMPLE = "sample"
OF_CLASS = "sensitivity_"
OF_SEVERAL, OF_TWO = ("f1", "auc"), ("npv", "lr_plus", "lr_minus")  # further measures of a class
CHANCE = "p_chance"  # column of `metrics`
NAMED = ["arm", "task", "cohort", "of"]  # columns of a line of published numbers
OF_MARKERS = ("accuracy", "sensitivity", "specificity", "ppv", "f1")  # at a cut-off
OF_CLASSES = tuple(f"{name}_" for name in MEASURES_OF_CLASSES)
END_POINT = "ge_"  # beginning of an end point's name
NONE = "none"  # network of a baseline
MANY = 7  # columns; a table of more is printed small
DIFFERENCE = [Column("Difference", False), Column("Measure", False), Column("Value"), Column("p, corrected")]


@dataclass(frozen=True)
class Part:
    """The results of one protocol and task.

    Attributes:
        study: The study.
        size: Its size.
        protocol: Name of the protocol.
        task: Name of the task; empty for that of the experiments.
        tables: The results, rows of this protocol and task only.
        published: Published results (`results.published`).
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
        return _label(self.study, str(arm))

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
    def beside_markers(self) -> pd.DataFrame:
        """Differences in AUC between arms and clinical markers (`against`): rows of `comparisons`.

        They are of patients, unless each has one sample.
        """
        table = self.tables["comparisons"]
        if "against" not in table:
            return table[:0]
        return table[(table["family"] == COMPARATORS) & (table["against"] != "")]

    @property
    def baselines(self) -> pd.DataFrame:
        """Accuracy without a model, one row a baseline."""
        return self.tables["baselines"].drop_duplicates("baseline")

    @property
    def pictures(self) -> list[tuple[str, str]]:
        """Files and captions of its pictures (`studies.study_pictures`)."""
        table = self.tables[results.PICTURES]
        return list(zip(table["file"], table["caption"], strict=True))

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


def accuracies(found: Sequence[Part]) -> pd.DataFrame | None:
    """Return the accuracy of the arms of several protocols and tasks, with chance and the best baseline.

    Returns:
        As `reporting.figures.study.protocols` takes them; None if there is one protocol and task only, or no
        accuracy.
    """
    rows = list[dict[str, object]]()
    for part in found:
        of_arms = {part.label(arm): part.estimate(arm, "accuracy") for arm in part.study.arms}
        known = {label: one for label, one in of_arms.items() if one is not None}
        title = part.title.removeprefix("Protocol ")
        rows += [{"part": title, "name": label, "network": True, **one} for label, one in known.items()]
        baselines = part.baselines.sort_values("value").set_index("baseline") if known else part.baselines[:0]
        for name in dict.fromkeys(["majority", *baselines.index[-1:]]):
            if name in baselines.index:
                label = numbers.baseline_name(name)
                rows.append({"part": title, "name": label, "network": False, **_ends(baselines.loc[name])})
    table = pd.DataFrame(rows)
    return table if rows and table["part"].nunique() > 1 else None


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
    style = "broad sheet" if len(columns) > MANY else ""
    notes = list(_notes(part))
    return Sheet(f"{part.title}: arms and baselines", _caption(part), columns, lines, style, notes=notes)


def differences(part: Part) -> Sheet:
    """Return the differences between arms, with corrected p values."""
    empty = f"The arms were not compared: {part.refused}" if part.refused else ""
    caption = "Differences on the same test samples; p corrected by Holm's method over each family."
    return Sheet(
        f"{part.title}: differences", caption, DIFFERENCE, _pairs(part, part.differences), empty=empty
    )


def beside_markers(part: Part) -> Sheet:
    """Return the differences in AUC between arms and clinical markers."""
    caption = "Arms and clinical markers on the patients who have the marker; p corrected by Holm's method."
    return Sheet(f"{part.title}: arms and markers", caption, DIFFERENCE, _pairs(part, part.beside_markers))


def _pairs(part: Part, rows: pd.DataFrame) -> list[Line]:
    """Return a line for each difference, in bold where it is significant."""
    return [
        line(
            f"{part.label(row['arm'])} {numbers.MINUS} {part.label(row['against'])}",
            numbers.title(str(row["metric"])) + at_end_point(row, rows),
            _cell(_ends(pd.Series(row)), str(row["metric"])),
            probability(float(row["p_holm"])),
            strong=float(row["p_holm"]) < results.SIGNIFICANT,
        )
        for row in rows.to_dict("records")
    ]


def at_end_point(row: Mapping[Hashable, Any], rows: pd.DataFrame) -> str:
    """Return the end point of an AUC after a comma; empty if the AUCs of the table have only one."""
    several = rows.loc[rows["metric"] == "auc", "of"].nunique() > 1
    return f", {row['of']}" if several and row["metric"] == "auc" else ""


def seen(part: Part) -> Sheet:
    """Return the measures of each arm on the samples that trained and chose it, beside the test.

    The mean and SD are those of the resamples of the test samples.
    """
    table = part.tables["metrics"]
    levels = [level for level in (*results.SEEN, SAMPLE) if level in set(table["level"])]
    lines = []
    for arm in dict.fromkeys(table["arm"]):
        for metric in part.study.measures:
            own = table[(table["arm"] == arm) & (table["metric"] == metric)].drop_duplicates("level")
            found = {str(row["level"]): row for row in own.to_dict("records")}
            cells = [_cell(_ends(found[level]) if level in found else None, metric) for level in levels]
            middle = _mean(found[SAMPLE], metric) if SAMPLE in found else ""
            lines.append(line(part.label(arm), numbers.title(metric), *cells, middle))
    titles = [*({SAMPLE: "Test"}.get(level, level.capitalize()) for level in levels), "Test, mean ± SD"]
    columns = [Column("Arm", False), Column("Measure", False), *map(Column, titles)]
    caption = (
        "First seed; a value on samples that trained or chose a network is no test of it. Mean and SD over "
        "resamples of the test samples."
    )
    parts = "training, validation and test" if results.SEEN[0] in levels else "validation and test"
    return Sheet(f"{part.title}: {parts}", caption, columns, lines if len(levels) > 1 else [])


def folds(part: Part) -> Sheet:
    """Return the measures of each arm in each fold with mean and SD.

    They are the measures of the study, then sensitivity, specificity and precision of each class.
    """
    table = part.tables["metrics"]
    names = sorted(set(table.loc[table["level"] == results.FOLD, "fold"]), key=int) if "fold" in table else []
    lines: list[Line] = []
    for arm in dict.fromkeys(table["arm"]) if names else ():
        own = table[(table["arm"] == arm) & (table["seed"] == table["seed"].min())]
        known = own[own["level"] == results.FOLD].drop_duplicates(["metric", "fold"])
        values = known.pivot(index="metric", columns="fold", values="value")
        means = own[own["level"] == results.FOLDS].drop_duplicates("metric").set_index("metric")
        of_class = [name for name in means.index if str(name).startswith(OF_CLASSES)]
        for name in [*(one for one in part.study.measures if one in means.index), *of_class]:
            each = [numbers.quantity(float(value), name) for value in values.loc[name].reindex(names)]
            middle, sd = (numbers.quantity(float(means.loc[name, end]), name) for end in ("value", "sd"))
            lines.append(line(part.label(arm), _title(name), *each, f"{middle} ± {sd}"))
    columns = [Column("Arm", False), Column("Measure", False), *(Column(f"Fold {name}") for name in names)]
    caption = "Each fold tests samples of its own; first seed. The SD is that between folds."
    return Sheet(f"{part.title}: folds", caption, [*columns, Column("Mean ± SD")], lines)


def markers(part: Part) -> Sheet:
    """Return the clinical markers at published and fitted cut-offs, on the test patients who have them."""
    table = part.tables["metrics"]
    rows = table[table["level"] == results.MARKER]
    lines: list[Line] = []
    if rows.empty:
        return Sheet(f"{part.title}: markers", "", [], [])
    rows = rows[rows["arm"] == rows["arm"].iloc[0]]  # the same patients for all arms
    known = rows[rows["rule"].fillna("") != ""]
    for marker, endpoint, rule in known[["marker", "endpoint", "rule"]].drop_duplicates().to_numpy().tolist():
        own = rows[(rows["marker"] == marker) & (rows["endpoint"] == endpoint)]
        area = own[own["metric"] == "auc"]
        at = own[own["rule"] == rule].drop_duplicates("metric").set_index("metric")
        cells = [_cell(_ends(area.iloc[0]) if len(area) else None, "auc")]
        cells += [_cell(_ends(at.loc[name]) if name in at.index else None, name) for name in OF_MARKERS]
        cutoff = numbers.quantity(float(at["cutoff"].iloc[0]), "threshold")
        paper = _printed(_together(part.published), marker, endpoint, "auc")
        lines.append(line(vocabulary.marker(marker), endpoint, f"{cutoff}, {rule}", *cells, paper))
    titles = ["AUC", *(numbers.title(name) for name in OF_MARKERS), "AUC, published"]
    columns = [Column("Marker", False), Column("End point", False), Column("Cut-off"), *map(Column, titles)]
    caption = (
        "Clinical markers on the test patients who have them; cut-offs are fitted on validation patients. "
        "Published AUCs are of the paper's patients."
    )
    return Sheet(f"{part.title}: markers", caption, columns, lines)


def cohort(part: Part) -> Sheet:
    """Return the characteristics of training, validation and test sets, beside those of the paper."""
    table, title = part.tables[results.COHORT], f"{part.title}: cohort"
    if table.empty:
        return Sheet(title, "", [], [])
    table = table[table["seed"] == table["seed"].min()]
    paper = {
        name: known
        for name, known in results.published_cohort(part.study).items()
        if known.keys() & set(table["variable"])
    }
    beside = {f"{name.capitalize()}, published": known for name, known in paper.items()}
    return characteristics(table, title, " First seed.", beside)


def balance(part: Part) -> Sheet:
    """Return the training samples of each class, before and after the sampler balances them."""
    table = part.tables["trainings"]
    if results.DRAWN not in table:
        return Sheet(f"{part.title}: balance", "", [], [])
    rows = table[table[results.DRAWN].notna() & (table[results.DRAWN] != "")].drop_duplicates("arm")
    lines = [
        line(part.label(row["arm"]), str(row[results.TRAINED]), str(row[results.DRAWN]))
        for row in rows.to_dict("records")
    ]
    titles = ("Training samples", "Drawn in the first epoch")
    caption = "Training samples by class, before and after balancing; of folds the first one."
    columns = [Column("Arm", False), *(Column(title, False) for title in titles)]
    return Sheet(f"{part.title}: balance", caption, columns, lines)


def classes(part: Part) -> Sheet:
    """Return the measures of each class by each arm, of a binary task those that papers print of a marker.

    With the p of each sensitivity against chance where classes are more than two.
    """
    table = part.tables["metrics"]
    several = bool(table["metric"].str.startswith("auc_").any())  # classes, or more than one end point
    measures = [*("sensitivity", "specificity", "precision"), *(OF_SEVERAL if several else OF_TWO)]
    lines: list[Line] = []
    for arm in dict.fromkeys(table["arm"]):
        own = table[(table["arm"] == arm) & (table["level"] == SAMPLE)].drop_duplicates("metric")
        found = {str(row["metric"]): row for row in own.to_dict("records")}
        for name in (metric.removeprefix(OF_CLASS) for metric in found if metric.startswith(OF_CLASS)):
            of_class = {metric: found.get(f"{metric}_{name}") for metric in measures}
            cells = [_cell(_ends(row) if row else None, metric) for metric, row in of_class.items()]
            chance = [_chance(of_class["sensitivity"])] if several else []
            lines.append(line(part.label(arm), _class(name), *cells, *chance))
    titles = [*map(numbers.title, measures), *(["p, against chance"] if several else [])]
    columns = [Column("Arm", False), Column("Class", False), *map(Column, titles)]
    caption = "Each class against the others, first seed."
    caption += " p of the sensitivity, not corrected." if several else ""
    return Sheet(f"{part.title}: classes", caption, columns, lines, "broad sheet")


def _chance(row: Mapping[Hashable, Any] | None) -> str:
    """Return the p of a sensitivity against chance; empty where it was not tested."""
    p = math.nan if row is None else float(row.get(CHANCE, math.nan))
    return probability(p) if math.isfinite(p) else ""


def variance(part: Part) -> Sheet:
    """Return the one-way analysis of variance of the sensitivities, as paper 1 reports it."""
    rows = part.tables["comparisons"]
    known = rows[(rows["family"] == ANOVA) & (rows["level"] == SAMPLE)] if "family" in rows else rows[:0]
    title = f"{part.title}: analysis of variance"
    return of_variance(known, title, "by sample") if len(known) else Sheet(title, "", [], [])


def _class(name: str) -> str:
    return f"{name.removeprefix(END_POINT)} or worse" if name.startswith(END_POINT) else name


def reported(part: Part) -> Sheet:
    """Return each published number of the paper's own networks beside ours, and their difference."""
    trainings, published = part.tables["trainings"], part.published
    own = set(trainings.loc[trainings["own_network"].astype(bool), "arm"])
    rows = published[published["arm"].isin(own) & _of_task(published, part.task)]
    lines = []
    for row in rows.to_dict("records"):
        metric, cohort = str(row["metric"]), str(row["cohort"])
        here = _measured(part, row)
        difference = "" if here is None else numbers.quantity(here["value"] - float(row["value"]), metric)
        named = part.label(row["arm"]), cohort, _class(str(row["of"])), numbers.title(metric)
        lines.append(line(*named, _cell(here, metric), _shown(row), difference))
    titles = [Column(name, False) for name in ("Arm", "Samples", "Class", "Measure")]
    columns = [*titles, Column("Here"), Column("Published"), Column("Difference")]
    caption = "Published numbers of the same networks beside ours, and ours minus theirs; patients differ."
    return Sheet(f"{part.title}: beside the paper", caption, columns, lines)


def _measured(part: Part, published: Mapping[Hashable, Any]) -> Mapping[str, float] | None:
    """Return our value of a published quantity, of a binary task that of its positive class."""
    metric, of, arm = (str(published[name]) for name in ("metric", "of", "arm"))
    table, level = part.tables["metrics"], results.COHORTS[str(published["cohort"])]
    if level == SAMPLE and not of and (found := part.estimate(arm, metric)) is not None:
        return found
    classes = list(dict.fromkeys(part.tables["confusion"]["predicted"]))
    positive = [f"{metric}_{classes[1]}"] if len(classes) == 2 else []
    names = [f"{metric}_{of}"] if of else [metric, *positive]
    rows = table[(table["arm"] == arm) & (table["level"] == level) & table["metric"].isin(names)]
    return _ends(rows.iloc[0]) if len(rows) else None


def apart(study: Study, tables: Tables, whole: bool = False) -> Sheet:
    """Return the published numbers whose network was not trained here.

    Args:
        study: The study.
        tables: Its results.
        whole: Whether those of single classes, of other samples than the test's and of other measures than
            the study's are shown too.
    """
    published, trainings = results.published(study), tables["trainings"]
    published = published if whole else _together(published)
    own = set(trainings.loc[trainings["own_network"].astype(bool), "arm"])
    rows = published[~published["arm"].isin(own)]
    kept = list(dict.fromkeys(rows["metric"])) if whole else study.measures
    names = [name for name in kept if name in set(rows["metric"]) and catalogue.find(name)]
    rows = rows[rows["metric"].isin(names)]
    lines = []
    for key in rows[NAMED].drop_duplicates().to_numpy().tolist():
        arm, task, cohort, of = map(str, key)
        cells = [_printed(_together(rows, of, cohort), arm, task, name) for name in names]
        about = (task, *((cohort, _class(of)) if whole else ()))
        places = dict.fromkeys(one.strip() for cell in cells for one in cell.small.split(";") if one)
        lines.append(line(_label(study, arm), *about, *(cell.text for cell in cells), "; ".join(places)))
    about = ("Arm", "Task", *(("Samples", "Class") if whole else ()))
    columns = [*(Column(name, False) for name in about), *(Column(numbers.title(name)) for name in names)]
    columns.append(Column("In the paper", False))
    caption = "Published, with networks that were not trained here; not comparable with the numbers above."
    style = "broad sheet" if len(columns) > MANY else ""
    return Sheet("Published numbers of other networks", caption, columns, lines, style)


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


def _label(study: Study, name: str) -> str:
    """Return the name of an arm or a clinical marker in words."""
    return study.arms[name].label if name in study.arms else vocabulary.marker(name)


def _title(metric: str) -> str:
    """Return the title of a measure, such as `Sensitivity, F2` of one class."""
    start = next((start for start in OF_CLASSES if metric.startswith(start)), "")
    of = f", {metric.removeprefix(start)}" if start else ""
    return numbers.title(start.rstrip("_") or metric) + of


def _at(table: pd.DataFrame, protocol: str, task: str) -> pd.DataFrame:
    return table[(table["protocol"] == protocol) & (table["task"] == task)]


def _overall(table: pd.DataFrame) -> pd.Series:
    """Return which rows of `comparisons`, of one task, are of all classes and folds together, and of samples.

    The AUC of the only end point of a task is one of them.
    """
    areas = (table["family"] == END_POINTS) & (table["metric"] == "auc")
    whole = (table["of"] == "") | areas if table.loc[areas, "of"].nunique() == 1 else table["of"] == ""
    together = whole & (table["fold"] == "") & (table["family"] != FOLDS)
    return together & (table["level"] == SAMPLE)


def _beside(part: Part) -> list[str]:
    """Return the measures whose published values stand beside ours: those of the paper's own networks."""
    trainings, published = part.tables["trainings"], _together(part.published)
    own = set(trainings.loc[trainings["own_network"].astype(bool), "arm"])
    rows = published[published["arm"].isin(own) & _of_task(published, part.task)]
    return [name for name in part.study.measures if name in set(rows["metric"])]


def _together(published: pd.DataFrame, of: str = "", cohort: str = keys.TEST) -> pd.DataFrame:
    """Return the published numbers of a cohort, of all classes together or of one."""
    return published[(published["of"] == of) & (published["cohort"] == cohort)]


def _of_task(published: pd.DataFrame, task: str) -> pd.Series:
    """Return which numbers are of a task, or of an arm on masks, which has no other one."""
    return published["task"].isin(["", task, "segmentation"])


def _of_paper(part: Part, arm: str, metric: str) -> Cell:
    table = part.tables["trainings"]
    own = table.loc[table["arm"] == arm, "own_network"].astype(bool).all()
    return _printed(_together(part.published), arm, part.task, metric) if own else Cell("")


def _printed(published: pd.DataFrame, arm: str, task: str, metric: str) -> Cell:
    same = (published["arm"] == arm) & _of_task(published, task) & (published["metric"] == metric)
    return _shown(published[same].iloc[0]) if same.any() else Cell("")


def _shown(row: Mapping[Hashable, Any] | pd.Series) -> Cell:
    """Return a published number with its SD or interval, and its place in the paper."""
    metric = str(row["metric"])
    sd = "" if pd.isna(row["sd"]) else f" ± {numbers.quantity(float(row['sd']), metric)}"
    ends = [float(row[end]) for end in ("low", "high")]
    interval = "" if any(map(math.isnan, ends)) else f" {numbers.interval(ends[0], ends[1], metric)}"
    return Cell(numbers.quantity(float(row["value"]), metric) + sd + interval, str(row["where"]))


def _mean(row: Mapping[Hashable, Any], metric: str) -> str:
    """Return mean and SD over the resamples of a measure; empty where it has none."""
    found = [float(row.get(name, math.nan)) for name in ("mean", "sd")]
    return (
        " ± ".join(numbers.quantity(one, metric) for one in found) if all(map(math.isfinite, found)) else ""
    )


def _caption(part: Part) -> str:
    rows = part.tested.dropna(subset=["test"])
    if rows.empty:
        return part.title
    first, seeds = rows.iloc[0], rows.groupby("arm", sort=False)["seed"].nunique()
    images, groups, most = int(first["test"]), int(first["test_groups"]), seeds.max()
    fewer = [f"; {part.label(arm)}: {count}" for arm, count in seeds[seeds < most].items()]
    return (
        f"{part.title}: {images:,} test images of {groups:,} independent groups of {first['data']}, {most} "
        f"seed{'s' if most > 1 else ''}{''.join(fewer)}, 95 % intervals over groups."
    )


def _notes(part: Part) -> Iterator[tuple[str, str]]:
    if leak := part.study.protocols[part.protocol].leaks:
        yield "", f"Not a valid test: {leak}."


def _cell(found: Mapping[str, float] | None, metric: str) -> Cell:
    if found is None:
        return Cell("")
    shown = numbers.interval(found["low"], found["high"], metric) if math.isfinite(found["low"]) else ""
    return Cell(numbers.quantity(found["value"], metric), shown)


def _ends(row: Mapping[Hashable, Any] | pd.Series) -> dict[str, float]:
    return {name: float(row[name]) for name in ("value", "low", "high")}


def _filled(width: int, *cells: str) -> Line:
    """Return a line whose other cells are empty; `width` is the number of cells after the first."""
    return line(*cells, *[""] * (width + 1 - len(cells)))
