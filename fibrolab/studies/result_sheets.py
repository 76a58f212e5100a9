"""The tables of a study, from its results alone; README, page and LaTeX files show the same ones."""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from fibrolab.evaluation.comparison.comparison_table import ANOVA
from fibrolab.evaluation.comparison.fold_by_fold import OF_CLASSES as MEASURES_OF_CLASSES
from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.tables.comparison import of_variance
from fibrolab.reporting.tables.population import characteristics
from fibrolab.reporting.tables.sheet import Cell, Line, Sheet, columns, count, line, probability
from fibrolab.studies import results
from fibrolab.studies.parts import SAMPLE, Part, cell_of, class_name, ends_of
from fibrolab.studies.published_sheets import (
    MANY,
    measures_of_paper,
    number_of_paper,
    of_cohort,
    printed_number,
)

OF_CLASS = "sensitivity_"
OF_SEVERAL, OF_TWO = ("f1", "auc"), ("npv", "lr_plus", "lr_minus")  # further measures of a class
CHANCE = "p_chance"  # column of `metrics`
OF_MARKERS = ("accuracy", "sensitivity", "specificity", "ppv", "f1")  # at a cut-off
OF_CLASSES = tuple(f"{name}_" for name in MEASURES_OF_CLASSES)
NONE = "none"  # network of a baseline
DIFFERENCE = columns("Difference", "Measure", "Value", "p, corrected", texts=2)


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
                rows.append({"part": title, "name": label, "network": False, **ends_of(baselines.loc[name])})
    table = pd.DataFrame(rows)
    return table if rows and table["part"].nunique() > 1 else None


def arms(part: Part) -> Sheet:
    """Return the main table: a line an arm with its intervals and published numbers, then the baselines."""
    study, beside = part.study, measures_of_paper(part)
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
        cells = [cell_of(part.estimate(arm, name), name) for name in part.measures]
        printed = [number_of_paper(part, arm, name) for name in beside]
        lines.append(line(part.label(arm), str(own["network"].iloc[0]), *cells, *printed))
    lines += [
        _filled(width, part.label(arm), f"not run at this size: {reason}")
        for arm, reason in study.sizes[part.size].left_out(part.protocol).items()
    ]
    for row in part.baselines.to_dict("records"):
        shown = cell_of(ends_of(pd.Series(row)), "accuracy")
        cells = [shown if name == "accuracy" else Cell("") for name in part.measures]
        lines.append(line(numbers.baseline_name(str(row["baseline"])), NONE, *cells, *[""] * len(beside)))
    style = "broad sheet" if len(titles) + 1 > MANY else ""
    notes, headings = list(_notes(part)), columns("Arm", *titles, texts=2)
    return Sheet(f"{part.title}: arms and baselines", _caption(part), headings, lines, style, notes=notes)


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
            cell_of(ends_of(pd.Series(row)), str(row["metric"])),
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
            cells = [cell_of(ends_of(found[level]) if level in found else None, metric) for level in levels]
            middle = _mean(found[SAMPLE], metric) if SAMPLE in found else ""
            lines.append(line(part.label(arm), numbers.title(metric), *cells, middle))
    titles = [*({SAMPLE: "Test"}.get(level, level.capitalize()) for level in levels), "Test, mean ± SD"]
    caption = (
        "First seed; a value on samples that trained or chose a network is no test of it. Mean and SD over "
        "resamples of the test samples."
    )
    shown = columns("Arm", "Measure", *titles, texts=2)
    parts = "training, validation and test" if results.SEEN[0] in levels else "validation and test"
    return Sheet(f"{part.title}: {parts}", caption, shown, lines if len(levels) > 1 else [])


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
    titles = columns("Arm", "Measure", *(f"Fold {name}" for name in names), "Mean ± SD", texts=2)
    caption = "Each fold tests samples of its own; first seed. The SD is that between folds."
    return Sheet(f"{part.title}: folds", caption, titles, lines)


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
        cells = [cell_of(ends_of(area.iloc[0]) if len(area) else None, "auc")]
        cells += [cell_of(ends_of(at.loc[name]) if name in at.index else None, name) for name in OF_MARKERS]
        cutoff = numbers.quantity(float(at["cutoff"].iloc[0]), "threshold")
        paper = printed_number(of_cohort(part.published), marker, endpoint, "auc")
        lines.append(line(vocabulary.marker(marker), endpoint, f"{cutoff}, {rule}", *cells, paper))
    measures = ["AUC", *map(numbers.title, OF_MARKERS), "AUC, published"]
    titles = columns("Marker", "End point", "Cut-off", *measures, texts=2)
    caption = (
        "Clinical markers on the test patients who have them; cut-offs are fitted on validation patients. "
        "Published AUCs are of the paper's patients."
    )
    return Sheet(f"{part.title}: markers", caption, titles, lines)


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
    titles = columns("Arm", "Training samples", "Drawn in the first epoch", texts=3)
    caption = "Training samples by class, before and after balancing; of folds the first one."
    return Sheet(f"{part.title}: balance", caption, titles, lines)


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
            cells = [cell_of(ends_of(row) if row else None, metric) for metric, row in of_class.items()]
            chance = [_chance(of_class["sensitivity"])] if several else []
            lines.append(line(part.label(arm), class_name(name), *cells, *chance))
    titles = [*map(numbers.title, measures), *(["p, against chance"] if several else [])]
    caption = "Each class against the others, first seed."
    caption += " p of the sensitivity, not corrected." if several else ""
    return Sheet(
        f"{part.title}: classes", caption, columns("Arm", "Class", *titles, texts=2), lines, "broad sheet"
    )


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
    titles = columns("Arm", "True class", *(f"Predicted {name}" for name in names), texts=2)
    return Sheet(f"{part.title}: confusion matrices", "Test samples of all seeds together.", titles, lines)


def _title(metric: str) -> str:
    """Return the title of a measure, such as `Sensitivity, F2` of one class."""
    start = next((start for start in OF_CLASSES if metric.startswith(start)), "")
    of = f", {metric.removeprefix(start)}" if start else ""
    return numbers.title(start.rstrip("_") or metric) + of


def _mean(row: Mapping[Hashable, Any], metric: str) -> str:
    """Return mean and SD over the resamples of a measure; empty where it has none."""
    mean, sd = (float(row.get(name, math.nan)) for name in ("mean", "sd"))
    shown = f"{numbers.quantity(mean, metric)} ± {numbers.quantity(sd, metric)}"
    return shown if math.isfinite(mean + sd) else ""


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


def _filled(width: int, *cells: str) -> Line:
    """Return a line whose other cells are empty; `width` is the number of cells after the first."""
    return line(*cells, *[""] * (width + 1 - len(cells)))
