"""Search spaces: from Hydra's sweep syntax to parameters whose values are words of a command.

optimizer.lr: tag(log, interval(1e-5, 1e-2))   # every number between them, on a logarithmic scale
model.head.hidden_size: int(interval(16, 64))  # every whole number
trainer.max_epochs: range(10, 50, 10)          # 10, 20, 30, 40
backbone@model.branches.image: choice(resnet18, vgg16)
optimizer:                                     # a choice with parameters that exist only under one option
  adamw:
    optimizer.weight_decay: tag(log, interval(1e-4, 1e-1))
  sgd:
    optimizer.momentum: interval(0.8, 0.99)
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, ValueType
from hydra.errors import HydraException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import Trial

from fibrolab.choices import refuse, unknown
from fibrolab.command_line import prepared
from fibrolab.errors import ConfigError

TAGS = ("log", "int")
# A space over these would let the trials of a study differ in their test samples or in the value compared.
FIXED = (
    "seed",
    "split",
    "split.*",
    "data",
    "data.*",
    "task",
    "task.*",
    "folds",
    "repeats",
    "monitor",
    "mode",
)
OUTSIDE = ("name", "paths*", "tracking*", "resume", "tuned_by", "hydra*", "sweep*")
Values = dict[str, str]  # words after `=`, by the key of a parameter


@dataclass(frozen=True)
class Parameter:
    """One parameter of a space.

    Attributes:
        key: Its name on the command line, with a leading `+` if it adds a setting.
        distribution: The values that it may have; those of a choice are texts, as they are typed.
        below: Parameters that exist only under one option of a choice, by that option.
    """

    key: str
    distribution: BaseDistribution
    below: Mapping[str, tuple["Parameter", ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name as of a setting."""
        return self.key.lstrip("+")

    @property
    def bounds(self) -> list[str]:
        """Every option of a choice, or the least and the largest number."""
        if isinstance(self.distribution, CategoricalDistribution):
            return [str(choice) for choice in self.distribution.choices]
        assert isinstance(self.distribution, FloatDistribution | IntDistribution)
        return [repr(self.distribution.low), repr(self.distribution.high)]

    @property
    def is_choice(self) -> bool:
        """Return whether it is a choice; otherwise it is a number."""
        return isinstance(self.distribution, CategoricalDistribution)

    def grid(self) -> list[Any] | None:
        """Return all its values; None if there are infinitely many."""
        if isinstance(self.distribution, CategoricalDistribution):
            return list(self.distribution.choices)
        assert isinstance(self.distribution, FloatDistribution | IntDistribution)
        low, high, step = self.distribution.low, self.distribution.high, self.distribution.step
        if step is None:
            return None
        number = round((high - low) / step) + 1
        return [type(low)(low + step * place) for place in range(number)]


@dataclass(frozen=True)
class SearchSpace:
    """All parameters of a sweep."""

    parameters: tuple[Parameter, ...]

    def everything(self) -> Iterator[Parameter]:
        """Yield all parameters, also those that exist only under an option."""
        waiting = list(self.parameters)
        while waiting:
            parameter = waiting.pop(0)
            yield parameter
            waiting += [one for group in parameter.below.values() for one in group]

    @property
    def is_conditional(self) -> bool:
        """Return whether some parameters exist only under an option of another."""
        return any(parameter.below for parameter in self.parameters)

    def suggest(self, trial: Trial) -> Values:
        """Let a trial draw a value of each parameter that exists; return the words after `=` by key."""
        return _suggested(self.parameters, trial)

    def corners(self) -> list[Values]:
        """Return points of the space that together have every option and every bound at least once."""
        return _corners(self.parameters)

    def described(self) -> dict[str, str]:
        """Return the space as texts by name, by which two spaces are compared."""
        return dict(_described(self.parameters))


def parsed(given: Mapping[str, Any], words: Sequence[str] = ()) -> SearchSpace:
    """Return the space of a sweep.

    Args:
        given: `hydra.sweeper.params`: sweep syntax by name; a mapping is a choice between its keys, each with
            the parameters that exist only under it.
        words: Overrides of the command line with a sweep, such as `optimizer.lr=interval(1e-5, 1e-2)`; they
            replace those in `given`.

    Raises:
        ConfigError: The syntax is not one of a sweep, an interval is empty, a parameter is named twice, or
            trials that differ in it could not be compared.
    """
    own = {word.lstrip("+").partition("=")[0] for word in words}
    faults: list[str] = []
    lines = [
        f"{key}={value}" for key, value in given.items() if key not in own and not isinstance(value, Mapping)
    ]
    lines = [*prepared("train", lines), *words]
    parameters = [*_parameters(lines, faults)]
    for key, options in given.items():
        if key not in own and isinstance(options, Mapping):
            parameters.append(_choice_with_parameters(str(key), options, faults))
    space = SearchSpace(tuple(parameters))
    faults += _misplaced(space)
    if not parameters and not faults:
        faults.append(
            "The sweep has no parameter: choose a space with sweep=NAME, or give one such as "
            "'optimizer.lr=tag(log, interval(1e-5, 1e-2))'."
        )
    refuse(faults)
    return space


def _choice_with_parameters(key: str, options: Mapping[str, Any], faults: list[str]) -> Parameter:
    """Return a choice whose options have parameters of their own."""
    below = {}
    for option, given in options.items():
        try:
            below[str(option)] = parsed(given).parameters if given else ()
        except ConfigError as error:
            faults.append(f"Under {key}={option}: {error}")
    if not options:
        faults.append(f"{key} is a choice without an option: give at least one.")
        return Parameter(key, CategoricalDistribution([""]))
    return Parameter(key, CategoricalDistribution(list(map(str, options))), below)


def _parameters(lines: Sequence[str], faults: list[str]) -> Iterator[Parameter]:
    parser = OverridesParser.create()
    for line in lines:
        try:
            override = parser.parse_override(line)
            yield Parameter(override.get_key_element(), _distribution(override))
        except (HydraException, ConfigError) as error:
            faults.append(str(error).splitlines()[0])


def _distribution(override: Override) -> BaseDistribution:
    """Return the values that an override may have.

    Raises:
        ConfigError: It is no sweep, or a sweep without a value.
    """
    line, value = override.input_line, override.value()
    if not override.is_sweep_override() or override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        raise ConfigError(
            f"{line} names no space: give interval(LOW, HIGH), tag(log, interval(LOW, HIGH)), "
            "range(LOW, END, STEP) or choice(A, B); a single value belongs outside hydra.sweeper.params."
        )
    tags: set[str] = getattr(value, "tags", set())
    if others := sorted(tags - set(TAGS)):
        raise ConfigError(unknown(f"{line}: tag", others[0], TAGS))
    log, whole = "log" in tags, "int" in tags
    if isinstance(value, IntervalSweep):
        assert value.start is not None
        assert value.end is not None
        whole = whole or (isinstance(value.start, int) and isinstance(value.end, int))  # int(interval(...))
        return _numbers(str(line), value.start, value.end, None, whole, log)
    if isinstance(value, RangeSweep):
        among = list(value.range())
        if not among:
            raise ConfigError(f"{line} is empty: the first number must lie before the end.")
        whole = whole or all(isinstance(each, int) for each in among)
        low, high = min(among), max(among)
        if log:
            raise ConfigError(f"{line}: a range has equal steps; a logarithmic scale needs an interval.")
        return _numbers(str(line), low, high, abs(value.step), whole, log, single=True)
    return CategoricalDistribution(list(dict.fromkeys(map(str, override.sweep_string_iterator()))))


def _numbers(
    line: str, low: float, high: float, step: float | None, whole: bool, log: bool, single: bool = False
) -> BaseDistribution:
    """Return the numbers from `low` to `high`.

    Raises:
        ConfigError: There are none, or some have no logarithm.
    """
    if low > high or (low == high and not single):
        raise ConfigError(f"{line} is empty: the lower bound must be below the upper one.")
    if log and low <= 0:
        raise ConfigError(f"{line}: a logarithmic scale needs a lower bound above 0.")
    if not whole:
        return FloatDistribution(float(low), float(high), log=log, step=None if step is None else float(step))
    if int(low) != low or int(high) != high:
        raise ConfigError(f"{line}: whole numbers need whole bounds.")
    return IntDistribution(int(low), int(high), log=log, step=1 if step is None else int(step))


def _misplaced(space: SearchSpace) -> Iterator[str]:
    """Yield a sentence on each parameter that a study cannot vary, or that has two spaces."""
    known: dict[str, BaseDistribution] = {}
    for parameter in space.everything():
        name = parameter.name
        if any(fnmatchcase(name, pattern) for pattern in FIXED):
            yield (
                f"{name} cannot be a parameter of a study: its trials would differ in their samples or in "
                "the value by which they are compared. Fix it on the command line."
            )
        elif any(fnmatchcase(name, pattern) for pattern in OUTSIDE):
            yield f"{name} cannot be a parameter of a study: it changes no model."
        elif known.setdefault(name, parameter.distribution) != parameter.distribution:
            yield f"{name} has two spaces, under different options: give it one, or leave one of them out."


def _suggested(parameters: Sequence[Parameter], trial: Trial) -> Values:
    found: Values = {}
    for parameter in parameters:
        value = trial._suggest(parameter.name, parameter.distribution)
        found[parameter.key] = value if parameter.is_choice else repr(value)
        found |= _suggested(parameter.below.get(str(value), ()), trial)
    return found


def _corners(parameters: Sequence[Parameter]) -> list[Values]:
    lists = []
    for parameter in parameters:
        own: list[Values] = []
        for value in parameter.bounds:
            beneath = _corners(parameter.below.get(value, ()))
            own += [{parameter.key: value} | point for point in beneath]
        lists.append(own)
    number = max((len(own) for own in lists), default=1)
    return [
        {key: value for own in lists for key, value in own[place % len(own)].items()}
        for place in range(number)
    ]


def _described(parameters: Sequence[Parameter], condition: str = "") -> Iterator[tuple[str, str]]:
    for parameter in parameters:
        yield condition + parameter.name, _shown(parameter.distribution)
        for option, group in parameter.below.items():
            yield from _described(group, f"{condition}{parameter.name}={option}: ")


def _shown(distribution: BaseDistribution) -> str:
    """Return a distribution as sweep syntax; its JSON has all attributes."""
    found = json.loads(distribution_to_json(distribution))["attributes"]
    if isinstance(distribution, CategoricalDistribution):
        return f"choice({', '.join(map(str, distribution.choices))})"
    bounds = f"{found['low']!r}, {found['high']!r}"
    shown = f"interval({bounds})"
    if isinstance(distribution, IntDistribution):
        shown = f"int({shown})"
    shown = f"tag(log, {shown})" if found["log"] else shown
    return shown + (f" in steps of {found['step']}" if found["step"] not in (None, 1) else "")
