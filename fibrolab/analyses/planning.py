"""From the settings of `fibrolab.plan` to patients: what is asked, of whom, how many, by which formula."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from omegaconf import DictConfig

from fibrolab import choices
from fibrolab.config import resolved
from fibrolab.errors import ConfigError
from fibrolab.evaluation.intervals import sample_size

QUESTIONS = ("half_width", "against", "other")
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
ROUNDING = 0.005  # shares of stages are given with two digits
FEW = 10  # positives or negatives below which a formula of large samples is a guess
MOST = 1e9  # patients that a study could have
METAVIR = 5  # stages F0 .. F4


@dataclass(frozen=True)
class Study:
    """The settings of `conf/plan.yaml`, which says what each means."""

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
        """The AUC or share that is planned for."""
        value = self.share if self.auc is None else self.auc
        assert value is not None, "checked"
        return value

    @property
    def one_sided(self) -> float:
        """Share of the patients on whom one arm alone is right."""
        assert self.other is not None, "checked"
        if self.discordant is not None:
            return self.discordant
        return sample_size.discordant_proportion(self.expected, self.other, self.correlation)


class Requirement(NamedTuple):
    """One row of the table; positives and negatives are None where all patients count alike."""

    question: str
    patients: int
    positives: int | None
    negatives: int | None
    enrol: int


def run(config: DictConfig) -> list[Requirement]:
    """Print the answers and what they rest on.

    Returns:
        The answers.

    Raises:
        ConfigError: Settings that are wrong, all at once.
    """
    study = read(resolved(config))
    found = list(answers(study))
    _announce(study, found)
    return found


def read(settings: dict[str, Any]) -> Study:
    """Read the study that settings describe.

    Raises:
        ConfigError: They are wrong or contradict each other, all faults at once.
    """
    names = [field.name for field in fields(Study)]
    choices.refuse([choices.unknown("plan", name, names) for name in settings if name not in names])
    faults = [fault for name, bounds in RANGES.items() if (fault := _fault(name, settings.get(name), bounds))]
    faults += list(_faulty_stages(settings.get("stages")))
    choices.refuse(faults)
    study = Study(**settings)
    choices.refuse(list(_contradictions(study)))
    return study


def answers(study: Study) -> Iterator[Requirement]:
    """Return patients for each question that is asked, in each population."""
    for population, prevalence in _populations(study):
        for asked in QUESTIONS:
            if getattr(study, asked) is not None:
                independent = _independent(study, asked, prevalence)
                n = independent * sample_size.design_effect(study.rows_per_patient, study.icc)
                yield _answer(
                    study, _question(study, asked) + population, n / study.rows_per_patient, prevalence
                )


def assumptions(study: Study, found: list[Requirement]) -> Iterator[str]:
    """Return sentences on the formulas and their assumptions."""
    if study.auc is not None:
        yield (
            "AUC: DeLong's variance for normal scores of one spread; Hanley and McNeil's exponential scores "
            "ask for a third more near an AUC of 0.95. Intervals on the logit scale."
        )
    else:
        yield "Shares: Wilson's interval and the score test that it inverts."
    if study.against is not None:
        yield f"The {study.against:g} to be left out is taken for known, not for measured on a few patients."
    if study.other is not None:
        yield _two_arms(study)
    if study.rows_per_patient > 1:
        effect = sample_size.design_effect(study.rows_per_patient, study.icc)
        yield (
            f"{study.rows_per_patient:g} rows a patient with an intraclass correlation of {study.icc:g}: "
            f"a patient is worth {study.rows_per_patient / effect:.3g} independent rows (design effect "
            f"{effect:.3g}). Where they are averaged to one score, plan with rows_per_patient=1."
        )
    tests = "" if study.against is None and study.other is None else f"power {study.power:g} and "
    yield f"For {tests}a two-sided alpha of {study.alpha:g}: patients to test on, beside those to train on."
    fewest = min(min(size for size in answer[1:4] if size is not None) for answer in found)
    if fewest < FEW:
        yield f"Only {fewest} of a kind: the formulas are of large samples, and here no more than a guess."


def _fault(name: str, value: Any, bounds: str) -> str | None:
    """Return a sentence on a value that is not a number or out of its bounds; null is not given."""
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return None if number and HOLDS[bounds](value) else f"{name}={value} is not a number {bounds}."


def _faulty_stages(stages: Any) -> Iterator[str]:
    if stages is None:
        return
    numbers = isinstance(stages, list) and all(isinstance(x, int | float) and 0 < x < 1 for x in stages)
    if not numbers or len(stages) < 2 or abs(sum(stages) - 1) > ROUNDING:
        yield f"stages={stages} are not shares above 0 that add up to 1, such as [0.3,0.2,0.2,0.15,0.15]."


def _contradictions(study: Study) -> Iterator[str]:
    """Return sentences on settings that are each in their range but contradict each other."""
    if (study.auc is None) == (study.share is None):
        yield "Give what is expected, either auc or share, such as auc=0.85."
        return
    name = "share" if study.auc is None else "auc"
    if all(getattr(study, asked) is None for asked in QUESTIONS):
        yield f"{name}={study.expected:g} asks nothing: add half_width=0.05, against=VALUE or other=VALUE."
    for asked in ("against", "other"):
        if getattr(study, asked) == study.expected:
            yield f"{asked}={study.expected:g} is {name} itself: no number of patients tells them apart."
    if study.prevalence is not None and study.stages is not None:
        yield "Give either prevalence or stages: the stages hold the prevalence of every end point."
    if name == "auc" and study.prevalence is None and study.stages is None:
        yield "An AUC needs the share of positives: add prevalence=0.4, or stages=[0.3,0.2,0.2,0.15,0.15]."
    if study.discordant is not None and (name == "auc" or study.other is None or not study.paired):
        yield "discordant is of two shares on the same patients; give it beside share and other alone."
    elif name == "share" and study.other not in (None, study.expected) and study.paired:
        yield from _impossible_pair(study)


def _impossible_pair(study: Study) -> Iterator[str]:
    """Return a sentence on proportions correct that two arms cannot have on the same patients."""
    assert study.other is not None, "asked"
    least, most = sample_size.discordant_limits(study.expected, study.other)
    if not least - 1e-9 <= study.one_sided <= most + 1e-9:
        name = "correlation" if study.discordant is None else "discordant"
        yield (
            f"{name}={getattr(study, name):g} cannot be: of shares {study.expected:g} and {study.other:g} "
            f"one arm alone is right on {least:.3g} to {most:.3g} of the patients. Give discordant so."
        )


def _populations(study: Study) -> Iterator[tuple[str, float | None]]:
    """Whom it is asked of, and their share of positives; the stages make a row each."""
    if study.stages is None:
        yield "", study.prevalence
        return
    names = [f"F{k}" if len(study.stages) == METAVIR else f"class {k}" for k in range(len(study.stages))]
    for k, share in enumerate(study.stages):
        if study.auc is None:
            yield f", {names[k]}", share
        elif k:
            yield f", {names[k]}" + (" or worse" if k < len(names) - 1 else ""), sum(study.stages[k:])


def _independent(study: Study, asked: str, prevalence: float | None) -> float:
    """Independent rows that a question needs: of all for an AUC, of those counted for a share."""
    value, target = study.expected, getattr(study, asked)
    power, alpha = study.power, study.alpha
    if study.auc is None:
        if asked == "half_width":
            return sample_size.proportion_within(value, target, 1 - alpha)
        if asked == "against":
            return sample_size.proportion_above(value, target, power, alpha)
        if study.paired:
            return sample_size.two_proportions(value, target, study.one_sided, power, alpha)
        return sample_size.two_unpaired_proportions(value, target, power, alpha)
    assert prevalence is not None, "checked"
    if asked == "half_width":
        return sample_size.auc_within(value, target, prevalence, 1 - alpha)
    if asked == "against":
        return sample_size.auc_above(value, target, prevalence, power, alpha)
    correlation = study.correlation if study.paired else None
    return sample_size.two_aucs(value, target, prevalence, correlation, power, alpha)


def _answer(study: Study, question: str, n: float, prevalence: float | None) -> Requirement:
    """Whole patients: of an AUC's n positives and negatives, for a share's n as many others as come along."""
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
            "This asks for a billion patients and more: ask for a wider interval or a larger difference, of "
            "patients, rows and an alpha as a study has them."
        )
    return max(1, math.ceil(number - 1e-9))


def _question(study: Study, asked: str) -> str:
    name = "Share" if study.auc is None else "AUC"
    what, target = f"{name} {study.expected:g}", getattr(study, asked)
    if asked == "half_width":
        return f"{what} ± {target:g}"
    if asked == "against":
        return f"{what} {'above' if study.expected > target else 'below'} {target:g}"
    return f"{what} told from {target:g}" + ("" if study.paired else ", each cohort")


def _two_arms(study: Study) -> str:
    if not study.paired:
        return "Two cohorts of independent patients; the numbers are of each."
    if study.auc is None:
        return (
            f"Two arms on the same patients: McNemar's test (Connor 1987), {study.one_sided:.3g} of whom one "
            "arm alone gets right. The smaller that share, the fewer patients: take it from a pilot."
        )
    return (
        f"Two arms on the same patients: DeLong's test of scores that correlate by {study.correlation:g} "
        "within a class. The higher, the fewer patients: take it from a pilot."
    )


def _announce(study: Study, found: list[Requirement]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("What is asked", "Patients")
    split, lost = found[0].positives is not None, study.dropout > 0
    columns = [*(("Positives", "Negatives") if split else ()), *(("To enrol",) if lost else ())]
    for column in columns:
        table.add_column(column)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in found:
        sizes = [
            row.patients,
            *((row.positives, row.negatives) if split else ()),
            *((row.enrol,) if lost else ()),
        ]
        table.add_row(row.question, *(f"{size:,}" for size in sizes))
    console = Console(soft_wrap=True)
    console.print(table)
    for sentence in assumptions(study, found):
        console.print(f"- {sentence}", highlight=False)
