"""The README of a study: its tables and its verdict, made from the results alone, between two comments.

The text around the comments is written by hand and stays.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from fibrolab.reporting import numbers
from fibrolab.storage import put
from fibrolab.studies import results
from fibrolab.studies.definition import Study
from fibrolab.studies.results import NO_COMPARISON, Tables

README = "README.md"
BEGIN, END = "<!-- results: {} -->", "<!-- end of results: {} -->"
LOOKUP = "hash_lookup"
ALPHA = 0.05
SAMPLE = "sample"


def write(study: Study, size: str, tables: Tables) -> Path:
    """Write the tables of a size into the README of a study; the text around them is kept.

    Args:
        study: The study.
        size: Size of the results.
        tables: The results.

    Returns:
        Path of the README.
    """
    path, of_package = study.home / README, study.folder / README
    known = next((each for each in (path, of_package) if each.is_file()), None)
    old = known.read_text(encoding="utf-8") if known else f"# {study.title}\n"
    return put(path, inserted(old, size, section(study, size, tables)).encode())


def inserted(text: str, size: str, content: str) -> str:
    """Return a text with the section of a size replaced, or appended."""
    begin, end = BEGIN.format(size), END.format(size)
    block = f"{begin}\n\n{content.strip()}\n\n{end}"
    if begin in text and end in text:
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        return pattern.sub(lambda _: block, text)
    return f"{text.rstrip()}\n\n{block}\n"


def section(study: Study, size: str, tables: Tables) -> str:
    """Return the section of a size: a table for each protocol and task, differences, the verdict."""
    of = published_of(study)
    parts = [f"### Results at `size={size}`", "", _trained(tables), ""]
    for protocol, task in _combinations(tables):
        parts += [
            f"**{title(study, protocol, task)}**",
            "",
            *_table(study, size, tables, protocol, task, of),
            "",
        ]
        parts += [*_differences(study, tables, protocol, task), ""]
    parts += [*_apart(study, tables, of), "**Verdict.** " + " ".join(verdict(study, tables)), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts))


def title(study: Study, protocol: str, task: str) -> str:
    """Return the title of one table."""
    label = study.protocols[protocol].label or protocol
    return f"Protocol {label}" + (f", {task}" if task else "")


def published_of(study: Study) -> pd.DataFrame:
    """Return the published test results of all classes together, by arm, task and metric."""
    table = results.published(study)
    whole = table[(table["cohort"] == "test") & (table["class"] == "")].dropna(subset=["value"])
    return whole.drop_duplicates(["arm", "task", "metric"])


def _combinations(tables: Tables) -> list[tuple[str, str]]:
    rows = tables["trainings"][["protocol", "task"]].drop_duplicates()
    return [(str(protocol), str(task)) for protocol, task in rows.to_numpy().tolist()]


def _trained(tables: Tables) -> str:
    """Return a sentence on the number of trainings and their time."""
    table = tables["trainings"]
    done = table[table["state"] == "finished"]
    hours = done["seconds"].sum() / 3600 if "seconds" in done else 0
    holes = len(table) - len(done)
    text = f"{len(done)} trainings, {hours:.1f} hours in all."
    return text if not holes else f"{text} {holes} did not finish; their rows say why."


def _table(
    study: Study, size: str, tables: Tables, protocol: str, task: str, published: pd.DataFrame
) -> Iterator[str]:
    """Yield the lines of a table: a row an arm with its intervals, published numbers, then the baselines."""
    trainings = _at(tables["trainings"], protocol, task)
    beside = _beside(study, trainings, published, task)
    names = [numbers.title(name) for name in study.measures]
    more = [f"{numbers.title(name)}, published" for name in beside]
    yield _line(["arm", "network", *names, *more])
    yield _line(["---"] * (2 + len(names) + len(more)))
    for arm in dict.fromkeys(trainings["arm"]):
        own = trainings[trainings["arm"] == arm]
        if arm in study.arms and not study.arms[arm].shown:
            continue
        label = study.arms[arm].label if arm in study.arms else arm
        if (own["state"] != "finished").all():
            yield _line([label, f"did not finish: {own['error'].iloc[0]}", *[""] * (len(names) + len(more))])
            continue
        values = [_value(tables, protocol, task, arm, name) for name in study.measures]
        cells = [_published(published, arm, task, name) for name in beside]
        yield _line([label, str(own["network"].iloc[0]), *values, *cells])
    for arm, reason in study.sizes[size].without.items():
        yield _line([_label(study, arm), f"not run at this size: {reason}", *[""] * (len(names) + len(more))])
    for row in _at(tables["baselines"], protocol, task).drop_duplicates("baseline").to_dict("records"):
        shown = _quantity(row["value"], row["low"], row["high"], "accuracy")
        cells = [shown if name == "accuracy" else "" for name in study.measures]
        yield _line([numbers.baseline_name(str(row["baseline"])), "none", *cells, *[""] * len(more)])
    tested = trainings.dropna(subset=["test"]) if "test" in trainings else trainings[:0]
    if len(tested):
        first = tested.iloc[0]
        seeds = tested["seed"].nunique()
        yield ""
        yield (
            f"{int(first['test'])} test images of {int(first['test_groups'])} independent groups, "
            f"{seeds} seed{'s' if seeds > 1 else ''}; 95 % intervals over groups."
        )
    if leak := study.protocols[protocol].leaks:
        yield f"**Not a valid test**: {leak}."


def _beside(study: Study, trainings: pd.DataFrame, published: pd.DataFrame, task: str) -> list[str]:
    """Return the measures whose published values may stand beside ours: of the paper's own network."""
    own = set(trainings.loc[trainings["own_network"].astype(bool), "arm"])
    rows = published[published["arm"].isin(own) & (published["task"] == task)]
    return [name for name in study.measures if name in set(rows["metric"])]


def _apart(study: Study, tables: Tables, published: pd.DataFrame) -> Iterator[str]:
    """Yield a table of the published numbers whose network was not trained here."""
    trainings = tables["trainings"]
    own = set(trainings.loc[trainings["own_network"].astype(bool), "arm"])
    rows = published[~published["arm"].isin(own) & published["metric"].isin(study.measures)]
    if rows.empty:
        return
    yield "**Published, with networks that were not trained here** (no differences to the numbers above)"
    yield ""
    names = [name for name in study.measures if name in set(rows["metric"])]
    yield _line(["arm", "task", *map(numbers.title, names)])
    yield _line(["---"] * (2 + len(names)))
    for arm, task in rows[["arm", "task"]].drop_duplicates().to_numpy().tolist():
        cells = [_published(published, arm, task, name) for name in names]
        yield _line([_label(study, arm), task, *cells])
    yield ""


def _published(published: pd.DataFrame, arm: str, task: str, metric: str) -> str:
    rows = published[
        (published["arm"] == arm) & (published["task"] == task) & (published["metric"] == metric)
    ]
    if rows.empty:
        return ""
    return f"{numbers.quantity(float(rows['value'].iloc[0]), metric)} ({rows['where'].iloc[0]})"


def _value(tables: Tables, protocol: str, task: str, arm: str, metric: str) -> str:
    """Return a measure of an arm with its interval: over its seeds, or of its only run."""
    row = estimate(tables, protocol, task, arm, metric)
    return "" if row is None else _quantity(row["value"], row["low"], row["high"], metric)


def estimate(tables: Tables, protocol: str, task: str, arm: str, metric: str) -> Mapping[str, float] | None:
    """Return value and interval of a measure of an arm on its test samples; None if it was not measured."""
    compared = _at(tables["comparisons"], protocol, task)
    if "against" in compared:
        same = (compared["arm"] == arm) & (compared["metric"] == metric) & (compared["against"] == "")
        same &= (compared["level"] == SAMPLE) & (compared["of"] == "") & (compared["fold"].fillna("") == "")
        if same.any():
            return _ends(compared[same].iloc[0])
    table = _at(tables["metrics"], protocol, task)
    rows = table[(table["arm"] == arm) & (table["metric"] == metric) & (table["level"] == SAMPLE)]
    return _ends(rows.iloc[0]) if len(rows) else None


def _ends(row: pd.Series) -> dict[str, float]:
    return {name: float(row[name]) for name in ("value", "low", "high")}


def _differences(study: Study, tables: Tables, protocol: str, task: str) -> Iterator[str]:
    """Yield the differences between arms in the measures of the study, with corrected p."""
    rows = differences(study, tables, protocol, task)
    if rows.empty:
        refused = _at(tables["comparisons"], protocol, task)
        if "family" in refused and (refused["family"] == NO_COMPARISON).any():
            yield f"The arms were not compared: {refused['note'].iloc[0]}"
        return
    yield _line(["difference", "measure", "value", "p, corrected"])
    yield _line(["---"] * 4)
    for row in rows.to_dict("records"):
        pair = f"{_label(study, row['arm'])} − {_label(study, row['against'])}"
        value = _quantity(row["value"], row["low"], row["high"], str(row["metric"]))
        yield _line([pair, numbers.title(str(row["metric"])), value, _p(row["p_holm"])])


def differences(study: Study, tables: Tables, protocol: str, task: str) -> pd.DataFrame:
    """Return the differences between arms in the measures of a study: rows of `comparisons`."""
    table = _at(tables["comparisons"], protocol, task)
    if "against" not in table:
        return table[:0]
    rows = table[(table["against"] != "") & (table["level"] == SAMPLE) & (table["of"] == "")]
    return rows[rows["metric"].isin(study.measures) & (rows["fold"].fillna("") == "")]


def verdict(study: Study, tables: Tables) -> Iterator[str]:
    """Yield the sentences of the verdict, each of which follows from the results."""
    for protocol, task in _combinations(tables):
        yield from _against_baselines(study, tables, protocol, task)
        yield from _between_arms(study, tables, protocol, task)


def _against_baselines(study: Study, tables: Tables, protocol: str, task: str) -> Iterator[str]:
    """Yield a sentence on the best arm against the best baseline without a model."""
    rows = _at(tables["baselines"], protocol, task).drop_duplicates("baseline")
    arms = {
        arm: found
        for arm in study.arms
        if (found := estimate(tables, protocol, task, arm, "accuracy")) is not None
    }
    if rows.empty or not arms:
        return
    where = title(study, protocol, task)
    top = rows.sort_values("value").iloc[-1]
    best = max(arms, key=lambda arm: arms[arm]["value"])
    name = numbers.baseline_name(str(top["baseline"]))
    of_best = numbers.quantity(arms[best]["value"], "accuracy")
    of_top = numbers.quantity(float(top["value"]), "accuracy")
    label = study.arms[best].label
    if arms[best]["low"] > top["value"]:
        yield (
            f"{where}: {label}, the best arm, reaches an accuracy of {of_best}, more than the best baseline "
            f"({name}, {of_top})."
        )
    elif arms[best]["value"] > top["value"]:
        yield (
            f"{where}: the accuracy of the best arm ({label}, {of_best}) is above that of the best baseline "
            f"({name}, {of_top}), but its interval includes it."
        )
    else:
        yield (
            f"{where}: no arm exceeds the best baseline, which looks at no liver ({name}, {of_top}; the best "
            f"arm, {label}, {of_best})."
        )


def _between_arms(study: Study, tables: Tables, protocol: str, task: str) -> Iterator[str]:
    """Yield a sentence on how many pairs of arms can be distinguished."""
    rows = differences(study, tables, protocol, task)
    if rows.empty:
        return
    found = rows["p_holm"].astype(float) < ALPHA
    pairs = rows.loc[found, ["arm", "against"]].drop_duplicates()
    total = rows[["arm", "against"]].drop_duplicates()
    where = title(study, protocol, task)
    if pairs.empty:
        yield f"{where}: no two arms can be distinguished in any measure (corrected p at least {ALPHA})."
        return
    listed = ", ".join(
        f"{_label(study, arm)} and {_label(study, other)}" for arm, other in pairs.to_numpy().tolist()
    )
    yield f"{where}: {len(pairs)} of {len(total)} pairs of arms differ in a measure ({listed})."


def _label(study: Study, arm: object) -> str:
    return study.arms[str(arm)].label if str(arm) in study.arms else str(arm)


def _at(table: pd.DataFrame, protocol: str, task: str) -> pd.DataFrame:
    return table[(table["protocol"] == protocol) & (table["task"] == task)]


def _quantity(value: float, low: float, high: float, metric: str) -> str:
    text = numbers.quantity(float(value), metric)
    return f"{text} {numbers.interval(low, high, metric)}" if math.isfinite(low) else text


def _p(value: float) -> str:
    if not math.isfinite(value):
        return "not tested"
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
