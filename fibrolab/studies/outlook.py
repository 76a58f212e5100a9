"""What a study will cost, and what its test sets can show, printed before anything is trained."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from fibrolab import keys
from fibrolab.data.labelled_data import LabelledData
from fibrolab.evaluation import endpoints
from fibrolab.evaluation.intervals import sample_size
from fibrolab.studies.definition import Study
from fibrolab.studies.results import PLACE, Tables
from fibrolab.studies.trainings import Data, Place, Training

BETTER = 0.85  # expected accuracy and AUC of the better arm
CORRELATION = 0.5  # of two arms' scores or of their correctness, as `fibrolab.plan` assumes
HOUR = 3600.0


def announce(
    study: Study,
    missing: Sequence[Place],
    composed: Mapping[Place, Training],
    data: Data,
    known: Tables | None,
    listed: bool,
) -> None:
    """Print the time that the missing trainings take, and the differences that their test sets can show.

    Args:
        study: The study.
        missing: Places of the trainings that will run.
        composed: Trainings by their places.
        data: Loads their data.
        known: Results of earlier calls.
        listed: Whether each training is listed with its words.
    """
    each = {place: seconds(place, known) for place in missing}
    if listed:
        for place in missing:
            words = " ".join(composed[place].words) if place in composed else "a regression on other runs"
            print(f"  {place}: {duration(each[place])}\n    {words}")
    if missing:
        print(f"time     {total(list(each.values()))}")
    for sentence in power(study, missing, composed, data):
        print(f"power    {sentence}")


def seconds(place: Place, known: Tables | None) -> float:
    """Estimate the time of a training from an earlier one [s]: of its place, or else of its arm; or NaN."""
    if known is None:
        return math.nan
    table = known["trainings"]
    if "seconds" not in table:
        return math.nan
    for names in (PLACE, PLACE[:3], ["arm"]):
        same = np.all([table[name] == getattr(place, name) for name in names], axis=0)
        if same.any() and table.loc[same, "seconds"].notna().any():
            return float(table.loc[same, "seconds"].mean())
    return math.nan


def duration(time: float) -> str:
    """Format a time in hours."""
    return "time not known" if math.isnan(time) else f"{time / HOUR:.2f} h"


def total(times: Sequence[float]) -> str:
    """Say how long trainings take one after another, and for how many it is not known."""
    known = [time for time in times if not math.isnan(time)]
    unknown = len(times) - len(known)
    parts = []
    if known:
        parts.append(
            f"{sum(known) / HOUR:.2f} hours for {len(known)} trainings, by earlier runs of this size"
        )
    if unknown:
        parts.append(f"not known for {unknown}, of which no earlier run is on record")
    return "; ".join(parts)


def power(
    study: Study, places: Sequence[Place], composed: Mapping[Place, Training], data: Data
) -> Iterator[str]:
    """Yield a sentence on each protocol and task: the least differences that its test set can show."""
    seen = set[tuple[str, str]]()
    for place in places:
        training = composed.get(place)
        if training is None or training.arm.needs or (place.protocol, place.task) in seen:
            continue
        seen.add((place.protocol, place.task))
        words = _power(training, data.of(training))
        yield f"{' '.join(filter(None, [place.protocol, place.task]))}: {words}"


def _power(training: Training, data: LabelledData) -> str:
    task = training.config.task
    rows = data.split.rows(keys.TEST)
    if training.config.folds == "all" and "test" not in training.config.split:
        rows = np.arange(len(data.manifest))
    groups, labels = data.manifest.table[keys.GROUP_ID].iloc[rows], data.labels[rows]
    n = groups.nunique()
    gaps = {"accuracy": least(_needed_for_accuracy, n)}
    for name, lowest in endpoints.of_task(data.classes, task.endpoints or {}, bool(task.ordered)).items():
        positive = groups[labels >= lowest].nunique()
        if 0 < positive < n:
            gaps[f"AUC {name} ({positive} positive)"] = least(partial(_needed_for_auc, positive / n), n)
    shown = ", ".join(f"{name} {'none' if math.isnan(gap) else f'{gap:.3f}'}" for name, gap in gaps.items())
    return (
        f"{len(rows)} test images of {n} independent groups can show (power 80 %, better arm at {BETTER}) "
        f"differences from: {shown}."
    )


def _needed_for_auc(prevalence: float, other: float) -> float:
    return sample_size.two_aucs(BETTER, other, prevalence, CORRELATION)


def _needed_for_accuracy(other: float) -> float:
    discordant = sample_size.discordant_proportion(BETTER, other, CORRELATION)
    return sample_size.two_proportions(BETTER, other, discordant)


def least(needed: Callable[[float], float], n: int) -> float:
    """Return the least difference below .85 for which n groups suffice; NaN if none does.

    Args:
        needed: Number of groups that distinguish .85 from a lower value.
        n: Number of groups.
    """
    gaps = np.arange(0.001, 0.35, 0.001)
    enough = [gap for gap in gaps if needed(BETTER - float(gap)) <= n]
    return float(enough[0]) if enough else math.nan
