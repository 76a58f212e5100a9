"""The tables of a study in the folder of its run: trials, their curves, importances of parameters."""

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.trial import FrozenTrial, TrialState

from fibrolab.reporting.tuning_record import IMPORTANCES_FILE, PARAMETER, PROGRESS_FILE, TRIALS_FILE
from fibrolab.storage import write_table
from fibrolab.sweeps.shared_study import ERROR, RUN, STATE, SharedStudy

ENOUGH = 4  # finished trials from which importances are computed
EVALUATORS: dict[str, Callable[[], BaseImportanceEvaluator]] = {
    "fanova": lambda: FanovaImportanceEvaluator(seed=0),
    "ped_anova": PedAnovaImportanceEvaluator,
}


def write(study: SharedStudy, folder: Path) -> None:
    """Write `trials.csv`, `trials_progress.csv` and `importances.csv`.

    Raises:
        StorageError: The disk is full, or the database of the study cannot be used.
    """
    trials = study.trials
    write_table(pd.DataFrame([_row(trial, study) for trial in trials]), folder / TRIALS_FILE)
    steps = [
        {"number": trial.number, "step": step, "value": value}
        for trial in trials
        for step, value in sorted(trial.intermediate_values.items())
    ]
    write_table(pd.DataFrame(steps, columns=["number", "step", "value"]), folder / PROGRESS_FILE)
    write_table(importances(study), folder / IMPORTANCES_FILE)


def _row(trial: FrozenTrial, study: SharedStudy) -> dict[str, Any]:
    """Return one row; of a trial that did not finish, its values are empty."""
    values = trial.values if trial.state == TrialState.COMPLETE else None
    names = ["value"] if len(study.goals) == 1 else [f"value_{place}" for place in range(len(study.goals))]
    begun, ended = trial.datetime_start, trial.datetime_complete
    return {
        "number": trial.number,
        "state": _state(trial),
        **dict(zip(names, values or [None] * len(names), strict=True)),
        **{f"{PARAMETER}{one.name}": trial.params.get(one.name) for one in study.space.everything()},
        "started": begun.isoformat(timespec="seconds") if begun else "",
        "seconds": round((ended - begun).total_seconds(), 1) if begun and ended else None,
        "run": trial.user_attrs.get(RUN, ""),
        "retried_from": trial.system_attrs.get("failed_trial"),
        "error": trial.user_attrs.get(ERROR, ""),
    }


def _state(trial: FrozenTrial) -> str:
    """Return the state in the words of a job: finished, pruned, failed, killed, timeout, running, waiting."""
    ours = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned"}
    if trial.state == TrialState.FAIL:
        return str(trial.user_attrs.get(STATE, "killed")).replace("finished", "failed")
    return ours.get(trial.state, trial.state.name.lower())


def importances(study: SharedStudy) -> pd.DataFrame:
    """Return the importance of each parameter by two evaluators; no rows for a study with several goals.

    Only parameters that every finished trial has are compared, as fANOVA requires (Hutter et al., An
    efficient approach for assessing hyperparameter importance, ICML 2014; Watanabe et al., PED-ANOVA, IJCAI
    2023).
    """
    finished = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    rows = []
    if len(study.goals) == 1 and len(finished) >= ENOUGH:
        for name, evaluator in EVALUATORS.items():
            with warnings.catch_warnings(), contextlib.suppress(ValueError, RuntimeError):
                warnings.simplefilter("ignore")  # equal values of all trials tell nothing
                found = get_param_importances(study.study, evaluator=evaluator())
                rows += [
                    {"parameter": parameter, "evaluator": name, "importance": value}
                    for parameter, value in found.items()
                ]
    return pd.DataFrame(rows, columns=["parameter", "evaluator", "importance"])


def front(study: SharedStudy) -> list[FrozenTrial]:
    """Return the finished trials that no other exceeds in every goal; with one goal, the best first."""
    with study.database.faults():
        return study.study.best_trials
