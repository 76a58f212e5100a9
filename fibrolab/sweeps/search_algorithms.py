"""Samplers and pruners of a study by name, and what each needs of its space, goals and folds."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    WilcoxonPruner,
)
from optuna.samplers import BaseSampler, GridSampler, RandomSampler

from fibrolab.sweeps.search_space import SearchSpace

FIRST = 5  # trials that finish before others are compared with their median
PATIENCE = 3  # epochs or folds without improvement that `patient` tolerates
SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "tpe": partial(optuna.samplers.TPESampler, multivariate=True, group=True, constant_liar=True),
    "gp": optuna.samplers.GPSampler,
    "cmaes": optuna.samplers.CmaEsSampler,
    "random": RandomSampler,
    "nsga2": optuna.samplers.NSGAIISampler,
    "nsga3": optuna.samplers.NSGAIIISampler,
}
GRID = "grid"
NAMES = (*SAMPLERS, GRID)
PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "none": lambda steps: NopPruner(),
    "median": lambda steps: MedianPruner(n_startup_trials=FIRST),
    "hyperband": lambda steps: HyperbandPruner(min_resource=1, max_resource=steps),
    "patient": lambda steps: PatientPruner(MedianPruner(n_startup_trials=FIRST), patience=PATIENCE),
    "wilcoxon": lambda steps: WilcoxonPruner(),
}


class _Grid(GridSampler):
    """Every point of a grid; it does not stop `Study.optimize`, which is not used here."""

    def after_trial(self, *_: Any) -> None:
        """Do nothing."""


def build(name: str, space: SearchSpace, seed: int) -> BaseSampler:
    """Return a sampler whose draws follow from the seed and the trials so far."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == GRID:
            points = {one.name: one.grid() or [] for one in space.parameters}
            return _Grid(points, seed=0)  # by the seed it numbers its points, which must stay the same
        return SAMPLERS[name](seed=seed)


def pruner(name: str, steps: int) -> BasePruner:
    """Return a pruner of trials that report up to `steps` values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return PRUNERS[name](steps)


def size_of_grid(space: SearchSpace) -> int:
    """Return the number of points of a grid."""
    number = 1
    for parameter in space.parameters:
        number *= len(parameter.grid() or [])
    return number


def faults(sampler: str, pruner: str, space: SearchSpace, goals: int, folds: bool) -> Iterator[str]:
    """Yield a sentence on each thing that a sampler or a pruner needs and lacks.

    Args:
        sampler: Its name.
        pruner: Its name.
        space: The parameters.
        goals: Number of values by which trials are compared.
        folds: Whether a trial trains several folds.
    """
    given = list(space.everything())
    if sampler == "cmaes":
        if choices := [parameter.name for parameter in given if parameter.is_choice]:
            yield f"sampler=cmaes draws numbers only, and {', '.join(choices)} is a choice: take sampler=tpe."
        if len(given) == 1:
            yield "sampler=cmaes needs at least two parameters: take sampler=tpe."
        if goals > 1:
            yield "sampler=cmaes has one goal: take sampler=tpe or sampler=nsga2."
    endless = [parameter.name for parameter in given if parameter.grid() is None]
    if sampler == GRID and endless:
        yield (
            f"sampler=grid visits every point, and {', '.join(endless)} has infinitely many values: give "
            "choice(A, B) or range(LOW, END, STEP)."
        )
    if sampler in (GRID, "cmaes") and space.is_conditional:
        yield f"sampler={sampler} cannot draw parameters that exist only under an option: take sampler=tpe."
    if pruner == "wilcoxon" and not folds:
        yield "pruner=wilcoxon compares trials fold by fold: it needs folds=all. Take pruner=median without."
