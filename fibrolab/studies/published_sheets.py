"""Published numbers of a study: beside ours where the network is the paper's, apart where it is not."""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from fibrolab import keys
from fibrolab.evaluation.measures import catalogue
from fibrolab.reporting import numbers
from fibrolab.reporting.tables.sheet import Cell, Column, Sheet, columns, line
from fibrolab.studies import results
from fibrolab.studies.definition import Study
from fibrolab.studies.parts import SAMPLE, Part, cell_of, class_name, ends_of, label_of
from fibrolab.studies.results import Tables

NAMED = ["arm", "task", "cohort", "of"]  # columns of a line of published numbers
MANY = 7  # columns; a table of more is printed small


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
        named = part.label(row["arm"]), cohort, class_name(str(row["of"])), numbers.title(metric)
        lines.append(line(*named, cell_of(here, metric), _shown(row), difference))
    titles = columns("Arm", "Samples", "Class", "Measure", "Here", "Published", "Difference", texts=4)
    caption = "Published numbers of the same networks beside ours, and ours minus theirs; patients differ."
    return Sheet(f"{part.title}: beside the paper", caption, titles, lines)


def apart(study: Study, tables: Tables, whole: bool = False) -> Sheet:
    """Return the published numbers whose network was not trained here.

    Args:
        study: The study.
        tables: Its results.
        whole: Whether those of single classes, of other samples than the test's and of other measures than
            the study's are shown too.
    """
    published, trainings = results.published(study), tables["trainings"]
    published = published if whole else of_cohort(published)
    own = set(trainings.loc[trainings["own_network"].astype(bool), "arm"])
    rows = published[~published["arm"].isin(own)]
    kept = list(dict.fromkeys(rows["metric"])) if whole else study.measures
    names = [name for name in kept if name in set(rows["metric"]) and catalogue.find(name)]
    rows = rows[rows["metric"].isin(names)]
    lines = []
    for key in rows[NAMED].drop_duplicates().to_numpy().tolist():
        arm, task, cohort, of = map(str, key)
        cells = [printed_number(of_cohort(rows, of, cohort), arm, task, name) for name in names]
        about = (task, *((cohort, class_name(of)) if whole else ()))
        places = dict.fromkeys(one.strip() for cell in cells for one in cell.small.split(";") if one)
        lines.append(line(label_of(study, arm), *about, *(cell.text for cell in cells), "; ".join(places)))
    about = ("Arm", "Task", *(("Samples", "Class") if whole else ()))
    titles = columns(*about, *map(numbers.title, names), texts=len(about))
    titles.append(Column("In the paper", False))
    caption = "Published, with networks that were not trained here; not comparable with the numbers above."
    style = "broad sheet" if len(titles) > MANY else ""
    return Sheet("Published numbers of other networks", caption, titles, lines, style)


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
    titles = columns("Work", "Data", "Arm, task, class", "Measure", "Value", texts=4)
    titles.append(Column("Source", False))
    caption = "As the paper cites them, on other patients; not comparable with the numbers above."
    return Sheet("Earlier results", caption, titles, lines)


def measures_of_paper(part: Part) -> list[str]:
    """Return the measures whose published values stand beside ours: those of the paper's own networks."""
    trainings, published = part.tables["trainings"], of_cohort(part.published)
    own = set(trainings.loc[trainings["own_network"].astype(bool), "arm"])
    rows = published[published["arm"].isin(own) & _of_task(published, part.task)]
    return [name for name in part.study.measures if name in set(rows["metric"])]


def of_cohort(published: pd.DataFrame, of: str = "", cohort: str = keys.TEST) -> pd.DataFrame:
    """Return the published numbers of a cohort, of all classes together or of one."""
    return published[(published["of"] == of) & (published["cohort"] == cohort)]


def _of_task(published: pd.DataFrame, task: str) -> pd.Series:
    """Return which numbers are of a task, or of an arm on masks, which has no other one."""
    return published["task"].isin(["", task, "segmentation"])


def number_of_paper(part: Part, arm: str, metric: str) -> Cell:
    """Return a published measure of the test samples; an empty cell where our network is another one."""
    table = part.tables["trainings"]
    own = table.loc[table["arm"] == arm, "own_network"].astype(bool).all()
    return printed_number(of_cohort(part.published), arm, part.task, metric) if own else Cell("")


def printed_number(published: pd.DataFrame, arm: str, task: str, metric: str) -> Cell:
    """Return the published value of a measure, with its place in the paper; an empty cell without one."""
    same = (published["arm"] == arm) & _of_task(published, task) & (published["metric"] == metric)
    return _shown(published[same].iloc[0]) if same.any() else Cell("")


def _shown(row: Mapping[Hashable, Any] | pd.Series) -> Cell:
    """Return a published number with its SD or interval, and its place in the paper."""
    metric = str(row["metric"])
    sd = "" if pd.isna(row["sd"]) else f" ± {numbers.quantity(float(row['sd']), metric)}"
    low, high = (float(row[end]) for end in ("low", "high"))
    interval = "" if math.isnan(low) else f" {numbers.interval(low, high, metric)}"
    return Cell(numbers.quantity(float(row["value"]), metric) + sd + interval, str(row["where"]))


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
    return ends_of(rows.iloc[0]) if len(rows) else None
