"""A study of trials for its page: the tables in the folder of its run, and sentences on them."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.evaluation import selection_optimism
from fibrolab.reporting import numbers, vocabulary
from fibrolab.reporting.vocabulary import lowered
from fibrolab.runs import file_parsers
from fibrolab.runs.file_parsers import DAMAGE

TRIALS_FILE, PROGRESS_FILE, IMPORTANCES_FILE = "trials.csv", "trials_progress.csv", "importances.csv"
PARAMETER = "param/"  # begins the name of each column with the values of a parameter
FINISHED, PRUNED = "finished", "pruned"
STATES = (FINISHED, PRUNED, "failed", "out of memory", "timeout", "killed", "running", "waiting")
FEW = 10  # finished trials below which importances say little


@dataclass(frozen=True)
class Study:
    """The trials of a study.

    Attributes:
        name: Its name.
        goals: Better end, `min` or `max`, of each validation metric by which trials are compared.
        trials: One row a trial: number, state, value_0 .., param/NAME, started, seconds, run, retried_from;
            values are empty unless the trial finished.
        progress: Monitored value by number and step (epoch or fold).
        importances: Parameter, evaluator and importance.
        chosen: Number of the trial whose settings were chosen; None if none was.
        optimism: What `selection_optimism` estimated; empty if it was not.
        logarithmic: Names of the parameters that were drawn on a logarithmic scale.
    """

    name: str
    goals: Mapping[str, str]
    trials: pd.DataFrame
    progress: pd.DataFrame
    importances: pd.DataFrame
    chosen: int | None = None
    optimism: Mapping[str, Any] | None = None
    logarithmic: Collection[str] = ()

    @cached_property
    def finished(self) -> pd.DataFrame:
        """Finished trials, in the order of their numbers."""
        return self.trials[self.trials["state"] == FINISHED]

    @property
    def values(self) -> list[str]:
        """Columns of the values, one a goal."""
        return [f"value_{place}" for place in range(len(self.goals))]

    @property
    def titles(self) -> list[str]:
        """Titles of the goals, such as `Validation loss`."""
        return [title(goal) for goal in self.goals]

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters that vary between trials, the most important first."""
        names = [
            str(column).removeprefix(PARAMETER) for column in self.trials if str(column).startswith(PARAMETER)
        ]
        varied = [name for name in names if self.trials[f"{PARAMETER}{name}"].nunique(dropna=True) > 1]
        rank = self.importances.groupby("parameter")["importance"].mean()
        return sorted(varied, key=lambda name: -float(rank.get(name, 0)))

    @property
    def signs(self) -> list[float]:
        """1 for each goal of which a lower value is better, otherwise -1."""
        return [1.0 if mode == "min" else -1.0 for mode in self.goals.values()]

    @property
    def ranked(self) -> pd.DataFrame:
        """Finished trials, the best first; of several goals those of the Pareto front, then the others."""
        found = self.finished
        if len(self.goals) == 1:
            return found.sort_values(self.values[0], ascending=self.signs[0] > 0, kind="stable")
        front = self.front
        order = found.assign(_front=~front, _value=self.signs[0] * found[self.values[0]])
        return found.loc[order.sort_values(["_front", "_value"], kind="stable").index]

    @cached_property
    def front(self) -> np.ndarray:
        """Mark the finished trials that no other one equals or exceeds in every goal, bool (N,)."""
        points = self.finished[self.values].to_numpy(float) * self.signs
        beaten = [
            bool(((points <= point).all(axis=1) & (points < point).any(axis=1)).any()) for point in points
        ]
        return ~np.array(beaten, bool)

    def label(self, name: str) -> str:
        """Return a short name of a parameter if no other one has it: `lr`, or `backbone` for a group."""
        names = [str(each).removeprefix(PARAMETER) for each in self.trials if str(each).startswith(PARAMETER)]
        shorts = [_last(each) for each in names]
        return _last(name) if shorts.count(_last(name)) == 1 else name

    def is_number(self, name: str) -> bool:
        """Return whether a parameter is a number, not a name or a truth value."""
        cells = self.trials[f"{PARAMETER}{name}"]
        return bool(pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells))


def _last(name: str) -> str:
    return name.partition("@")[0].rpartition(".")[2]


def read(
    folder: Path,
    name: str,
    goals: Mapping[str, str],
    chosen: int | None = None,
    logarithmic: Collection[str] = (),
) -> Study:
    """Read the tables of a study.

    Args:
        folder: Folder of its run, with `trials.csv`, and `trials_progress.csv`, `importances.csv` and
            `optimism.json` if they exist.
        name: Its name.
        goals: As of `Study`.
        chosen: As of `Study`; by default the best trial if there is one goal.
        logarithmic: As of `Study`.

    Raises:
        DataError: A table is missing or damaged.
    """
    values = [f"value_{place}" for place in range(len(goals))] if len(goals) > 1 else ["value"]
    known = folder / selection_optimism.FILE
    try:
        trials = file_parsers.table("number", "state", "seconds", *values)(folder / TRIALS_FILE)
        progress = _table(folder / PROGRESS_FILE, "number", "step", "value")
        importances = _table(folder / IMPORTANCES_FILE, "parameter", "evaluator", "importance")
        optimism = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else None
    except DAMAGE as error:
        reason = " ".join(str(error).split())
        raise DataError(f"The tables of the study in {folder} cannot be read ({reason}).") from error
    trials = trials.rename(columns={"value": "value_0"})
    study = Study(name, dict(goals), trials, progress, importances, chosen, optimism, logarithmic)
    if chosen is None and len(goals) == 1 and len(study.finished):
        return replace(study, chosen=int(study.ranked["number"].iloc[0]))
    return study


def _table(path: Path, *columns: str) -> pd.DataFrame:
    """Return a table that a study may lack."""
    return file_parsers.table(*columns)(path) if path.is_file() else pd.DataFrame(columns=list(columns))


def title(goal: str) -> str:
    """Return the title of a goal, such as `Validation loss` or `Latency [ms]`."""
    name = numbers.title(goal.removeprefix("val/"))
    if goal == keys.LATENCY:
        return f"{name} [ms]"
    if not goal.startswith("val/"):
        return name
    return f"Validation {name if name[:2].isupper() else vocabulary.lowered(name)}"


def counts(study: Study) -> dict[str, int]:
    """Return the number of trials by state, in the order of `STATES`."""
    found = study.trials["state"].value_counts()
    return {
        state: int(found[state]) for state in (*STATES, *sorted({*found.index} - {*STATES})) if state in found
    }


def hours(study: Study) -> dict[str, float]:
    """Return the duration of the trials [h] by state."""
    seconds = study.trials.groupby("state")["seconds"].sum()
    return {state: float(seconds[state]) / 3600 for state in counts(study)}


def lead(study: Study) -> str:
    """Return the number of trials by state, and what they cost."""
    parts = [f"{number:,} {state}" for state, number in counts(study).items()]
    total = sum(hours(study).values())
    trials = vocabulary.counted(len(study.trials), "trial")
    return f"{trials}: {vocabulary.listed(parts)}; {duration(total)} of training."


def duration(time: float) -> str:
    """Return a duration [h] in hours, or in minutes below two hours."""
    return f"{time:,.1f}{numbers.SPACE}hours" if time >= 2 else f"{60 * time:,.1f}{numbers.SPACE}minutes"


def sentences(study: Study) -> list[str]:
    """Return the result of the study in words: the choice, its optimism, and what the trials have seen."""
    seen = (
        "The trials saw training and validation samples only. None of them scored a test sample, so they are "
        "not in the ledger of test sets."
    )
    if not len(study.finished):
        return ["No trial has finished, so nothing was chosen.", seen]
    return [_choice(study), *_optimism(study), seen]


def without_importances(study: Study) -> str:
    """Return why a study has no importances."""
    if len(study.goals) > 1:
        return "The importance of parameters is defined for one goal only."
    return "Too few trials have finished to measure the importance of parameters."


def _choice(study: Study) -> str:
    if len(study.goals) > 1:
        front = int(study.front.sum())
        are = "is one trial" if front == 1 else f"are {front:,} trials"
        return (
            f"There {are} that no other trial exceeds in {vocabulary.listed([*map(lowered, study.titles)])} "
            "together; the choice among them is yours."
        )
    best = study.trials[study.trials["number"] == study.chosen].iloc[0]
    number = vocabulary.counted(len(study.finished), "finished trial")
    value = short(best[study.values[0]])
    return (
        f"Trial {study.chosen} was chosen: it has the best {lowered(study.titles[0])}, {value}, of {number}."
    )


def _optimism(study: Study) -> list[str]:
    """Return what the best trial would reach without the advantage of having been chosen."""
    found = study.optimism
    if not found:
        why = "with several goals " if len(study.goals) > 1 else ""
        return [
            "The best of several trials looks better on its validation samples than it is; "
            f"{why}this optimism was not estimated."
        ]
    name, groups = numbers.title(found["metric"]), vocabulary.counted(found["groups"], "independent unit")
    apparent = numbers.quantity(found["apparent"], found["metric"])
    best = study.finished["number"].iloc[found["best"]]
    among = f"of {vocabulary.counted(found['trials'], 'trial')} by the same validation samples"
    measured = f"{_measured(study, name, int(best))}{name} of trial {best} is {apparent}"
    if found["corrected"] is None or math.isnan(found["corrected"]):
        return [f"{measured}, the best {among}; with so few groups it cannot be corrected for this choice."]
    corrected = numbers.quantity(found["corrected"], found["metric"])
    ends = numbers.interval(found["low"], found["high"], found["metric"])
    return [
        f"{measured}. It is the best {among}; corrected for this choice, {corrected} {ends} is expected of "
        f"other patients ({groups})."
    ]


def _measured(study: Study, name: str, best: int) -> str:
    """Return a sentence where the corrected number differs from the one that chose, or is another trial's."""
    is_loss = next(iter(study.goals)).endswith("/loss")
    how = (
        f"A loss is corrected as {vocabulary.lowered(name)}"
        if is_loss
        else f"{name} is measured on all folds together"
    )
    if best != study.chosen:
        return f"{how}, by which trial {best} is the best, not the chosen trial {study.chosen}. "
    return f"{how}. " if is_loss else ""


def short(value: object) -> str:
    """Return a value of a trial in four significant digits; a dash where there is none."""
    if isinstance(value, bool | np.bool_ | str):
        return str(value)
    if value is None or not math.isfinite(float(value)):  # type: ignore[arg-type]
        return "–"
    return f"{float(value):.4g}".replace("-", numbers.MINUS)  # type: ignore[arg-type]
