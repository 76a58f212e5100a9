"""The command `plan`: number of patients that a study needs, by goal and population, and its assumptions."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import compress
from typing import Any, NamedTuple

from omegaconf import DictConfig

from fibrolab import choices
from fibrolab.config import resolved
from fibrolab.errors import ConfigError
from fibrolab.evaluation.intervals import sample_size

GOALS = ("half_width", "against", "other")  # width of an interval, a fixed value to exclude, a second arm
OPEN, CLOSED = "between 0 and 1", "from 0 to 1"
RANGES = {
    "auc": OPEN, "share": OPEN, "against": OPEN, "other": OPEN, "prevalence": OPEN,
    "half_width": "above 0 and below 0.5", "power": "from 0.5 and below 1", "alpha": "above 0 and below 0.5",
    "correlation": CLOSED, "discordant": CLOSED, "icc": CLOSED, "dropout": "from 0 and below 1",
    "rows_per_patient": "from 1",
}  # fmt: skip
HOLDS = {
    OPEN: lambda x: 0 < x < 1,
    CLOSED: lambda x: 0 <= x <= 1,
    "above 0 and below 0.5": lambda x: 0 < x < 0.5,
    "from 0.5 and below 1": lambda x: 0.5 <= x < 1,
    "from 0 and below 1": lambda x: 0 <= x < 1,
    "from 1": lambda x: 1 <= x < math.inf,
}
ROUNDING = 0.005  # proportions of stages are given with two digits
FEW = 10  # positives or negatives below which formulas for large samples are inaccurate
MOST = 1e9  # largest number of patients of a study
METAVIR = 5  # stages F0 .. F4


@dataclass(frozen=True)
class Study:
    """The settings of `conf/plan.yaml`, explained there."""

    auc: float | None = None
    share: float | None = None
    half_width: float | None = None
    against: float | None = None
    other: float | None = None
    prevalence: float | None = None
    stages: list[float] | None = None
    paired: bool = True
    correlation: float = 0.5
    discordant: float | None = None
    rows_per_patient: float = 1
    icc: float = 0.5
    dropout: float = 0
    power: float = 0.8
    alpha: float = 0.05

    @property
    def expected(self) -> float:
        """The expected AUC or proportion."""
        value = self.share if self.auc is None else self.auc
        assert value is not None, "checked"
        return value

    @property
    def discordant_patients(self) -> float:
        """Proportion of the patients on whom only one arm is correct."""
        assert self.other is not None, "checked"
        if self.discordant is not None:
            return self.discordant
        return sample_size.discordant_proportion(self.expected, self.other, self.correlation)


class Requirement(NamedTuple):
    """One row of the table; positives and negatives are None where the measure counts all patients."""

    question: str
    patients: int
    positives: int | None
    negatives: int | None
    enrol: int


def run(config: DictConfig) -> list[Requirement]:
    """Print and return the patients needed; also print the assumptions.

    Raises:
        ConfigError: Settings are wrong; all faults at once.
    """
    study = read(resolved(config))
    found = list(requirements(study))
    _announce(study, found)
    return found


def read(settings: dict[str, Any]) -> Study:
    """Return the study that the settings describe.

    Raises:
        ConfigError: Settings are wrong or contradict each other; all faults at once.
    """
    names = [field.name for field in fields(Study)]
    choices.refuse([choices.unknown("plan", name, names) for name in settings if name not in names])
    faults = [fault for name, bounds in RANGES.items() if (fault := _fault(name, settings.get(name), bounds))]
    faults += list(_faulty_stages(settings.get("stages")))
    choices.refuse(faults)
    study = Study(**settings)
    choices.refuse(list(_contradictions(study)))
    return study


def requirements(study: Study) -> Iterator[Requirement]:
    """Yield the patients that each goal of the study needs, in each population."""
    for population, prevalence in _populations(study):
        for goal in GOALS:
            if getattr(study, goal) is not None:
                independent = _independent(study, goal, prevalence)
                n = independent * sample_size.design_effect(study.rows_per_patient, study.icc)
                question = _question(study, goal) + population
                yield _requirement(study, question, n / study.rows_per_patient, prevalence)


def assumptions(study: Study, found: list[Requirement]) -> Iterator[str]:
    """Yield a sentence on each formula and its assumptions."""
    if study.auc is not None:
        yield (
            "AUC: DeLong's variance for normal scores of equal variance in both classes; Hanley and McNeil's "
            "exponential scores need a third more patients near an AUC of 0.95. Intervals on the logit scale."
        )
    else:
        yield "Proportions: Wilson's interval and the score test that it inverts."
    if study.against is not None:
        yield f"The value to exclude, {study.against:g}, is assumed to be known, not estimated from patients."
    if study.other is not None:
        yield _two_arms(study)
    if study.rows_per_patient > 1:
        effect = sample_size.design_effect(study.rows_per_patient, study.icc)
        yield (
            f"{study.rows_per_patient:g} rows a patient with an intraclass correlation of {study.icc:g}: "
            f"a patient counts as {study.rows_per_patient / effect:.3g} independent rows (design effect "
            f"{effect:.3g}). If a patient's rows are averaged to one score, plan with rows_per_patient=1."
        )
    tests = "" if study.against is None and study.other is None else f"power {study.power:g} and "
    yield f"For {tests}a two-sided alpha of {study.alpha:g}: test patients, in addition to training patients."
    fewest = min(min(size for size in row[1:4] if size is not None) for row in found)
    if fewest < FEW:
        yield f"A class has only {fewest} patients: the formulas are for large samples and inaccurate here."


def _fault(name: str, value: Any, bounds: str) -> str | None:
    """Return a sentence if a value is not a number or out of its bounds; a setting of null is not given."""
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return None if number and HOLDS[bounds](value) else f"{name}={value} is not a number {bounds}."


def _faulty_stages(stages: Any) -> Iterator[str]:
    if stages is None:
        return
    numbers = isinstance(stages, list) and all(isinstance(x, int | float) and 0 < x < 1 for x in stages)
    if not numbers or len(stages) < 2 or abs(sum(stages) - 1) > ROUNDING:
        yield f"stages={stages} are not proportions that add up to 1, such as [0.3,0.2,0.2,0.15,0.15]."


def _contradictions(study: Study) -> Iterator[str]:
    """Yield a sentence on each contradiction between settings that are in their ranges."""
    if (study.auc is None) == (study.share is None):
        yield "Give the expected value, either auc or share, such as auc=0.85."
        return
    name = "share" if study.auc is None else "auc"
    if all(getattr(study, goal) is None for goal in GOALS):
        yield f"{name}={study.expected:g} has no goal: add half_width=0.05, against=VALUE or other=VALUE."
    for goal in ("against", "other"):
        if getattr(study, goal) == study.expected:
            yield f"{goal}={study.expected:g} equals {name}: no number of patients can distinguish them."
    if study.prevalence is not None and study.stages is not None:
        yield "Give either prevalence or stages: the stages determine the prevalence of every end point."
    if name == "auc" and study.prevalence is None and study.stages is None:
        yield "An AUC needs a prevalence: add prevalence=0.4, or stages=[0.3,0.2,0.2,0.15,0.15]."
    if study.discordant is not None and (name == "auc" or study.other is None or not study.paired):
        yield "discordant applies to two proportions on the same patients; give it with share and other only."
    elif name == "share" and study.other not in (None, study.expected) and study.paired:
        yield from _impossible_pair(study)


def _impossible_pair(study: Study) -> Iterator[str]:
    """Yield a sentence if two arms cannot have these proportions correct on the same patients."""
    assert study.other is not None, "checked"
    least, most = sample_size.discordant_limits(study.expected, study.other)
    if not least - 1e-9 <= study.discordant_patients <= most + 1e-9:
        name = "correlation" if study.discordant is None else "discordant"
        yield (
            f"{name}={getattr(study, name):g} is impossible: with proportions {study.expected:g} and "
            f"{study.other:g}, only one arm is correct in {least:.3g} to {most:.3g} of the patients. Give "
            "discordant in this range."
        )


def _populations(study: Study) -> Iterator[tuple[str, float | None]]:
    """Yield name and prevalence of each population: all patients, or a stage or end point each."""
    if study.stages is None:
        yield "", study.prevalence
        return
    names = [f"F{k}" if len(study.stages) == METAVIR else f"class {k}" for k in range(len(study.stages))]
    for k, proportion in enumerate(study.stages):
        if study.auc is None:
            yield f", {names[k]}", proportion
        elif k:
            yield f", {names[k]}" + (" or worse" if k < len(names) - 1 else ""), sum(study.stages[k:])


def _independent(study: Study, goal: str, prevalence: float | None) -> float:
    """Compute the independent rows that a goal needs: all rows for an AUC, counted ones for a proportion."""
    value, target = study.expected, getattr(study, goal)
    power, alpha = study.power, study.alpha
    if study.auc is None:
        if goal == "half_width":
            return sample_size.proportion_within(value, target, 1 - alpha)
        if goal == "against":
            return sample_size.proportion_above(value, target, power, alpha)
        if study.paired:
            return sample_size.two_proportions(value, target, study.discordant_patients, power, alpha)
        return sample_size.two_unpaired_proportions(value, target, power, alpha)
    assert prevalence is not None, "checked"
    if goal == "half_width":
        return sample_size.auc_within(value, target, prevalence, 1 - alpha)
    if goal == "against":
        return sample_size.auc_above(value, target, prevalence, power, alpha)
    correlation = study.correlation if study.paired else None
    return sample_size.two_aucs(value, target, prevalence, correlation, power, alpha)


def _requirement(study: Study, question: str, n: float, prevalence: float | None) -> Requirement:
    """Round up to whole patients.

    For an AUC, n counts positives and negatives. For a proportion, n counts the patients with the condition;
    the study also includes those without it, according to the prevalence.
    """
    positives = negatives = None
    if prevalence is None:
        patients = _up(n)
    elif study.auc is None:
        positives = _up(n)
        patients = _up(positives / prevalence)
        negatives = patients - positives
    else:
        positives, negatives = _up(n * prevalence), _up(n * (1 - prevalence))
        patients = positives + negatives
    return Requirement(question, patients, positives, negatives, _up(patients / (1 - study.dropout)))


def _up(number: float) -> int:
    if not number < MOST:
        raise ConfigError(
            "This needs more than a billion patients: choose a wider interval or a larger difference, and "
            "plausible values of prevalence, rows_per_patient, dropout and alpha."
        )
    return max(1, math.ceil(number - 1e-9))


def _question(study: Study, goal: str) -> str:
    name = "Proportion" if study.auc is None else "AUC"
    expected, target = f"{name} {study.expected:g}", getattr(study, goal)
    if goal == "half_width":
        return f"{expected} ± {target:g}"
    if goal == "against":
        return f"{expected} {'above' if study.expected > target else 'below'} {target:g}"
    return f"{expected} different from {target:g}" + ("" if study.paired else ", each cohort")


def _two_arms(study: Study) -> str:
    if not study.paired:
        return "Two cohorts of independent patients; the numbers are for each cohort."
    if study.auc is None:
        return (
            "Two arms on the same patients: McNemar's test (Connor 1987), if only one arm is correct in a "
            f"proportion of {study.discordant_patients:.3g} of the patients. A smaller one needs fewer "
            "patients: take it from a pilot study."
        )
    return (
        f"Two arms on the same patients: DeLong's test, with a correlation of {study.correlation:g} between "
        "their scores within a class. A higher correlation needs fewer patients: take it from a pilot study."
    )


def _announce(study: Study, found: list[Requirement]) -> None:
    from rich.console import Console
    from rich.table import Table

    split, lost = found[0].positives is not None, study.dropout > 0
    table = Table("Question")
    of = {"Patients": True, "Positives": split, "Negatives": split, "To enrol": lost}
    for title in compress(of, of.values()):
        table.add_column(title, justify="right")
    for question, *sizes in found:
        table.add_row(question, *(f"{size:,}" for size in compress(sizes, of.values())))
    console = Console(soft_wrap=True)
    console.print(table)
    for sentence in assumptions(study, found):
        console.print(f"- {sentence}", highlight=False)
