"""Studies that processes share: how they go on, what they refuse, and the trials of dead processes."""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import text

from fibrolab import processes, tracking
from fibrolab.errors import ConfigError, StorageError
from fibrolab.sweeps import jobs, search_algorithms, search_space, study_tables
from fibrolab.sweeps.jobs import Job, Result
from fibrolab.sweeps.shared_study import PROCESS, PRUNER, SILENT, Database, Goal, SharedStudy
from fibrolab.sweeps.trial_reports import TrialReports

SPACE = {"optimizer.lr": "tag(log, interval(1e-5, 1e-2))", "batch_size": "choice(16, 32)"}
LOSS, KAPPA, LATENCY = Goal("val/loss", "min"), Goal("val/qwk", "max"), Goal("latency", "min")


def opened(place: Path, *goals: Goal, space: dict | None = None, run: str = "run", **settings) -> SharedStudy:
    database = Database(f"sqlite:///{place}/optuna.db")
    parsed = search_space.parsed(space or SPACE)
    return SharedStudy(database, "study", goals or (LOSS,), parsed, settings, create=lambda: run)


def asked(study: SharedStudy, folder: Path, total: int = 100, name: str = "random"):
    return study.ask(total, lambda number: search_algorithms.build(name, study.space, number), folder)


def tell(study: SharedStudy, folder: Path, state: str = "finished", value: float = 0.5, **metrics) -> int:
    trial, _ = asked(study, folder)
    study.tell(trial.number, Result(state, f"run{trial.number}", value, metrics))
    return trial.number


def test_the_total_counts_finished_and_pruned_trials_and_numbers_go_on(studies: Path) -> None:
    first = opened(studies)
    for state in ("finished", "pruned", "failed", "finished"):
        tell(first, studies, state)
    again = opened(studies, run="another")
    assert (again.done, again.run_id) == (3, "run")
    trial, values = asked(again, studies, total=4)
    assert trial.number == 4
    assert set(values) == set(SPACE)
    assert asked(again, studies, total=4) is None  # it runs


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"space": SPACE | {"batch_size": "choice(16, 64)"}}, "batch_size: was choice(16, 32), is choice(16"),
        (
            {"space": {"batch_size": "choice(16, 32)"}},
            "optimizer.lr: was tag(log, interval(1e-05, 0.01))",
        ),
        ({"loss": "focal"}, "loss: was cross_entropy, is focal"),
    ],
)
def test_a_study_of_another_space_or_of_other_settings_is_refused(
    studies: Path, changed: dict, sentence: str
) -> None:
    opened(studies, loss="cross_entropy")
    with pytest.raises(ConfigError) as caught:
        opened(studies, **{"loss": "cross_entropy"} | changed)
    assert sentence in str(caught.value)
    assert "hydra.sweeper.study_name" in str(caught.value)


def test_other_goals_are_refused(studies: Path) -> None:
    opened(studies, LOSS)
    with pytest.raises(ConfigError, match="val/loss: was min, is absent"):
        opened(studies, KAPPA)


def dead(study: SharedStudy, folder: Path) -> optuna.Trial:
    """A trial whose process no longer exists."""
    trial, _ = asked(study, folder)
    gone = replace(processes.current(), pid="4194000")  # above the largest process id of Linux's default
    trial.set_user_attr(PROCESS, str(gone))
    return trial


def test_a_trial_of_a_dead_process_is_queued_again_once(studies: Path) -> None:
    first = dead(opened(studies), studies)
    study = opened(studies)
    again, values = asked(study, studies)
    assert study.trials[0].state == TrialState.FAIL
    assert (again.number, again.params) == (1, first.params)
    assert values["batch_size"] == first.params["batch_size"]
    again.set_user_attr(PROCESS, study.trials[0].user_attrs[PROCESS])
    third, _ = asked(opened(studies), studies)
    assert third.params["optimizer.lr"] != first.params["optimizer.lr"]


def test_a_trial_that_had_ended_before_its_sweep_was_killed_keeps_its_result(studies: Path) -> None:
    trial = dead(opened(studies), studies)
    job = Job(trial.number, (), (), studies, "run")
    job.folder.mkdir()
    jobs.write_result(job, Result("finished", "abc", 0.25))
    study = opened(studies)
    assert asked(study, studies)[0].number == 1
    assert (study.trials[0].value, study.trials[0].user_attrs["run"]) == (0.25, "abc")


def test_the_trials_of_a_living_process_are_left_alone(studies: Path) -> None:
    asked(opened(studies), studies)
    other = opened(studies)
    assert asked(other, studies)[0].number == 1
    assert other.trials[0].state == TrialState.RUNNING


def silent(study: SharedStudy, seconds: int) -> None:
    """Make the heartbeats of all trials this much older."""
    with study.database.storage.engine.begin() as connection:
        older = f"UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, '-{seconds} seconds')"
        assert connection.execute(text(older)).rowcount


def elsewhere(study: SharedStudy, folder: Path) -> optuna.Trial:
    """A trial that another machine runs."""
    trial, _ = asked(study, folder)
    trial.set_user_attr(PROCESS, str(replace(processes.current(), host="elsewhere")))
    return trial


def test_a_trial_of_a_machine_without_a_heartbeat_is_queued_again_once(studies: Path) -> None:
    first = elsewhere(opened(studies), studies)
    silent(opened(studies), SILENT // 2)
    here = opened(studies)
    assert asked(here, studies)[0].params != first.params
    silent(here, SILENT)  # of which that of the trial here is renewed
    again, *others = [asked(here, studies)[0] for _ in range(3)]
    assert again.params == first.params
    assert all(trial.params != first.params for trial in others)
    assert [trial.state for trial in here.trials] == [TrialState.FAIL, *[TrialState.RUNNING] * 4]


@pytest.mark.parametrize("place", [dead, elsewhere])
def test_a_trial_that_had_ended_counts_however_long_ago_its_sweep_was_killed(
    studies: Path, place: Callable[[SharedStudy, Path], optuna.Trial]
) -> None:
    trial = place(opened(studies), studies)
    folder = studies / str(trial.number)
    folder.mkdir()
    jobs.write_result(Job(trial.number, (), (), studies, "run"), Result("finished", "abc", 0.25))
    silent(opened(studies), 2 * SILENT)
    study = opened(studies)
    assert asked(study, studies)[0].params != trial.params
    assert (study.trials[0].value, study.trials[0].user_attrs["run"]) == (0.25, "abc")


def test_a_trial_that_is_queued_again_knows_nothing_of_the_killed_one(studies: Path) -> None:
    study = opened(studies)
    trial, _ = asked(study, studies)
    study.tell(trial.number, Result("killed", "first", error="It was ended by SIGKILL."))
    again, _ = asked(study, studies)
    study.tell(again.number, Result("finished", "second", 0.5))
    row = study_tables._row(study.trials[again.number], study)
    assert (row["run"], row["error"], row["retried_from"]) == ("second", "", trial.number)
    assert study_tables._row(study.trials[trial.number], study)["error"] == "It was ended by SIGKILL."


def test_a_trial_that_was_given_up_goes_on_without_an_error(
    studies: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = opened(studies)
    study.study.set_user_attr(PRUNER, ["median", 2])
    trial, _ = asked(study, studies)
    study.give_up()
    reports = TrialReports(jobs.Trial(f"sqlite:///{studies}/optuna.db", "study", trial._trial_id))
    assert not reports.is_pruned(1, 0.5)
    assert "given this trial up" in caplog.text


def test_trials_of_two_goals_are_not_pruned(studies: Path) -> None:
    study = opened(studies, LOSS, LATENCY)
    study.study.set_user_attr(PRUNER, ["median", 2])
    for _ in range(search_algorithms.FIRST + 1):
        tell(study, studies, **{"val/loss": 0.1, "latency": 1.0})
    trial, _ = asked(study, studies)
    reports = TrialReports(jobs.Trial(f"sqlite:///{studies}/optuna.db", "study", trial._trial_id))
    assert not reports.is_pruned(1, 1e9)


def test_an_interrupted_sweep_queues_its_trials_again(studies: Path) -> None:
    study = opened(studies)
    asked(study, studies)
    study.give_up()
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]


def test_one_process_at_a_time_concludes_a_study_and_none_while_trials_run(studies: Path) -> None:
    ours, other = opened(studies), opened(studies)
    trial, _ = asked(other, studies)
    assert not ours.claim()
    other.tell(trial.number, Result("finished", "run", 0.5))
    assert ours.claim()
    elsewhere = str(replace(processes.current(), host="elsewhere"))
    ours.study.set_user_attr("concluded by", [elsewhere, time.time()])
    assert not other.claim()
    ours.release()
    assert other.claim()


def test_a_trial_that_another_machine_gave_up_is_left_alone(studies: Path) -> None:
    study = opened(studies)
    trial, _ = asked(study, studies)
    study.database.storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    study.tell(trial.number, Result("finished", "run", 0.5))
    assert study.trials[0].state == TrialState.FAIL


def test_each_goal_gets_its_value_and_a_trial_without_one_has_failed(studies: Path) -> None:
    study = opened(studies, KAPPA, LATENCY)
    tell(study, studies, **{"val/qwk": 0.7, "latency": 12.0})
    tell(study, studies, **{"val/qwk": 0.7})
    assert study.trials[0].values == [0.7, 12.0]
    assert study.trials[1].state == TrialState.FAIL
    assert study.trials[1].user_attrs["error"] == "the run has no latency"


def test_a_value_that_is_no_number_is_a_failure(studies: Path) -> None:
    study = opened(studies)
    tell(study, studies, value=float("nan"))
    assert study.trials[0].state == TrialState.FAIL


@pytest.mark.parametrize("name", search_algorithms.NAMES)
def test_every_sampler_draws_trials_one_after_another(studies: Path, name: str) -> None:
    numbers = {"a": "range(0, 3)", "b": "range(0, 3)"}
    study = opened(studies, space=numbers)
    drawn = []
    for _ in range(search_algorithms.size_of_grid(study.space) if name == "grid" else 3):
        trial, values = asked(study, studies, name=name)
        study.tell(trial.number, Result("finished", "run", float(trial.number)))
        drawn.append((values["a"], values["b"]))
    if name == "grid":
        assert sorted(drawn) == sorted(itertools.product("012", repeat=2))
    assert study.done == len(drawn)


@pytest.mark.parametrize(
    ("sampler", "pruner", "space", "goals", "sentence"),
    [
        ("cmaes", "none", SPACE, 1, "batch_size is a choice"),
        ("cmaes", "none", {"a": "interval(0, 1)"}, 1, "at least two parameters"),
        ("cmaes", "none", {"a": "interval(0, 1)", "b": "interval(0, 1)"}, 2, "has one goal"),
        ("grid", "none", SPACE, 1, "optimizer.lr has infinitely many values"),
        ("grid", "none", {"a": {"x": {"b": "choice(1, 2)"}}}, 1, "exist only under an option"),
        ("tpe", "wilcoxon", SPACE, 1, "needs folds=all"),
    ],
)
def test_needs_of_samplers_and_pruners_are_checked(
    sampler: str, pruner: str, space: dict, goals: int, sentence: str
) -> None:
    parsed = search_space.parsed(space)
    assert any(
        sentence in fault for fault in search_algorithms.faults(sampler, pruner, parsed, goals, folds=False)
    )


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://me:secret@host/db", "is no address of a database"),
        ("optuna.db", "is no address of a database"),
        ("postgresql://me:secret@127.0.0.1:1/db", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_sentence_without_the_password(url: str, sentence: str) -> None:
    with pytest.raises((ConfigError, StorageError)) as caught:
        Database(url)
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_text("this is text, and no database at all\n" * 100)
    with pytest.raises(StorageError, match="file is not a database"):
        opened(tmp_path)


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_shared_study import LOSS, SPACE, asked
from fibrolab import tracking
from fibrolab.sweeps import search_space
from fibrolab.sweeps.jobs import Result
from fibrolab.sweeps.shared_study import Database, SharedStudy
place = Path(sys.argv[1])
runs = dict(uri=f"sqlite:///{{place}}/mlflow.db", artifacts=str(place / "artifacts"),
            experiment="own", tags={{}})
database, space = Database(f"sqlite:///{{place}}/optuna.db"), search_space.parsed(SPACE)
study = SharedStudy(database, "study", [LOSS], space, {{}}, lambda: tracking.begin(**runs, name="study"))
while found := asked(study, place, total=24):
    with tracking.track(**runs, name="trial", parent=study.run_id) as tracked:
        (tracked.folder / "note.txt").write_text(tracked.id)
    study.tell(found[0].number, Result("finished", tracked.id, 0.5))
print(study.run_id)
"""


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_eight_processes_share_one_empty_study_and_one_empty_mlruns(tmp_path: Path) -> None:
    mlruns = tmp_path / "mlruns"
    program = PROGRAM.format(tests=str(Path(__file__).parent))
    words = [sys.executable, "-c", program, str(mlruns)]
    started = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    printed = [process.communicate()[0].strip() for process in started]
    assert [process.returncode for process in started] == [0] * 8
    assert len(set(printed)) == 1  # one run of the study
    study = opened(mlruns)
    assert study.done == len(study.trials) == 24
    drawn = [json.dumps(trial.params, sort_keys=True) for trial in study.trials]
    assert len(set(drawn)) == 24  # no process repeats the draws of another
    children = tracking.children(f"sqlite:///{mlruns}/mlflow.db", printed[0])
    assert [status for _, status, _ in children] == ["FINISHED"] * 24
    assert {run for run, _, _ in children} == {trial.user_attrs["run"] for trial in study.trials}
    for run, _, _ in children:
        assert (mlruns / "artifacts" / run / "artifacts" / "note.txt").read_text() == run
