"""Studies from their settings to the chosen configuration; the trainings are answered by functions."""

import json
from collections.abc import Callable
from pathlib import Path

import fake_run
import pandas as pd
import pytest
from compose import names
from hydra import compose
from mlflow.tracking import MlflowClient
from omegaconf import DictConfig, OmegaConf
from sqlalchemy import Connection, event
from sweep_case import launched

from fibrolab import keys, tracking
from fibrolab.cross_validation import Place
from fibrolab.errors import ConfigError, StorageError, TrainingError
from fibrolab.evaluation import predictions
from fibrolab.sweeps import multirun, tuning
from fibrolab.sweeps.jobs import Job, Result
from hydra_plugins.fibrolab.optuna_sweeper import OptunaSweeper

LR = "optimizer.lr=tag(log, interval(1e-4, 1e-2))"
FAMILY = {"hybrid": "model=hybrid", "multimodal": "model=multimodal data=phantom_swe", "single": "",
          "video": "model=video data=phantom_clips"}  # fmt: skip


@pytest.mark.parametrize("name", names("sweep"))
def test_every_space_fits_its_family(planned: Callable, name: str) -> None:
    plan, _ = planned(f"sweep={name}", *FAMILY[name].split())
    assert len(list(plan.space.everything())) >= 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([LR, "optimizer.lr=0.1"], "fixes a parameter of the space"),
        ([LR, "hydra.sweeper.n_trials=0"], "n_trials=0 is not a whole number from 1"),
        ([LR, "hydra.sweeper.sampler=tpee"], "Did you mean tpe?"),
        ([LR, "hydra.sweeper.pruner=medain"], "Did you mean median?"),
        ([LR, "hydra.sweeper.goals=[val/sensitivty,latency]"], "hydra.sweeper.goals: there is no"),
        ([LR, "hydra.sweeper.goals=[val/qwk]"], "set monitor=val/qwk instead"),
        ([LR, "hydra.sweeper.pruner=wilcoxon"], "needs folds=all"),
        ([LR, "folds=all", "split=kfold"], "take split=folds_in_training"),
        ([LR, "split.val=0", "callbacks.early_stopping=null"], "a study chooses its settings on them"),
        (["optimizer.lr=interval(-1, 1)"], "optimizer.lr=-1.0 is not"),
        ([LR, "monitor=train/loss"], "is not measured on validation samples"),
        ([LR, "debug=fast_dev_run"], "Trials would have no val/loss"),
        ([LR, "+hydra.sweeper.trials=3"], "Did you mean n_trials?"),
        (["loss=choice(focal, cross_entropy)"], "set monitor=val/qwk mode=max"),
    ],
)
def test_a_study_that_cannot_succeed_is_refused_before_it_begins(
    planned: Callable, words: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(*words)
    assert sentence in str(caught.value)


def test_too_few_gpus_are_refused_before_a_study_is_opened(
    planned: Callable, studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, composer = planned(LR, "hydra.launcher.n_jobs=2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(tuning, "tune", lambda *_: pytest.fail("the study begins"))
    sweeper = OptunaSweeper()
    sweeper._loader, sweeper._config = composer.loader, composer.master
    with pytest.raises(ConfigError, match="needs 2 GPUs, and 1 are visible"):
        sweeper.sweep([LR])


def test_a_study_among_ranks_of_a_launcher_is_refused(
    planned: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multirun.devices, "place", lambda: multirun.devices.Place(size=2))
    with pytest.raises(ConfigError, match="torchrun and srun start ranks of one training"):
        planned(LR)


def test_a_launcher_of_one_of_several_experiments_of_a_space_is_refused(
    planned: Callable, tmp_path: Path
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nhydra:\n  launcher:\n    n_jobs: 3\n"
    )
    with pytest.raises(ConfigError, match=r"experiment=mine chooses hydra\.launcher\.n_jobs=3"):
        planned("experiment=choice(paper1/resnet50, mine)", f"hydra.searchpath=[file://{tmp_path}]")


def test_an_unknown_setting_of_a_space_is_found_before_the_study(planned: Callable) -> None:
    with pytest.raises(Exception, match=r"optimizer\.learning_rate"):
        planned("optimizer.learning_rate=interval(0.1, 0.2)")


def test_the_name_of_a_study_follows_from_space_and_settings(planned: Callable) -> None:
    ours = planned(LR)[0].name
    assert ours.startswith("single-phantom-")
    assert planned(LR, "num_workers=0", "paths.cache=elsewhere")[0].name == ours
    assert planned("optimizer.lr=tag(log, interval(1e-4, 1e-3))")[0].name != ours


def test_goals_have_the_better_end_of_their_metric(planned: Callable) -> None:
    goals = "hydra.sweeper.goals=[val/sensitivity_ge_F2,val/log_loss,latency]"
    plan, _ = planned(LR, goals)
    assert [goal.mode for goal in plan.goals] == ["max", "min", "min"]
    assert not plan.prunes


@pytest.fixture
def finished_run(studies: Path) -> Callable[[str], str]:
    """Return a function that makes a finished run with the files of a trial, or of a tested run."""

    def make(parent: str) -> str:
        uri = f"sqlite:///{studies}/mlruns/mlflow.db"
        artifacts = str(studies / "mlruns" / "artifacts")
        given = {"uri": uri, "experiment": "fibrolab", "artifacts": artifacts}
        with tracking.track(**given, name="trial", tags={}, parent=parent) as tracked:
            for name in (keys.CONFIG_FILE, keys.MANIFEST_FILE, keys.SPLIT_FILE):
                (tracked.folder / name).write_text(f"{name} of the trials\n")
            rows = fake_run.predicted(("mild", "severe"), 60, skill=1.0).head(60)  # the validation part
            predictions.write(rows, tracked.folder / keys.PREDICTIONS_FILE)
            (tracked.folder / keys.ENVIRONMENT_FILE).write_text(
                f'{{"format": {keys.FORMAT!r}}}'.replace("'", '"')
            )
        return tracked.id

    return make


@pytest.fixture
def answered(
    studies: Path, fresh_database: Path, finished_run: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[Job], Result]:
    """Return a function that ends a job with the learning rate as its value."""
    (studies / "mlruns").mkdir()
    (studies / "mlruns" / "mlflow.db").write_bytes(fresh_database.read_bytes())
    monkeypatch.setattr(tuning.evaluating, "announce", lambda *_: None)

    def answer(job: Job) -> Result:
        (rate,) = [
            float(word.partition("=")[2]) for word in job.overrides if word.startswith("optimizer.lr=")
        ]
        return Result("finished", finished_run(job.parent), rate, {"val/loss": rate, "latency": 1 / rate})

    return answer


def test_a_study_chooses_writes_an_experiment_and_tests_it_once(
    planned: Callable, answered: Callable[[Job], Result], studies: Path
) -> None:
    plan, composer = planned(LR, "augment=choice(none, light)", "batch_size=16", "hydra.sweeper.n_trials=5")
    seen: list[Job] = []
    launch = launched(lambda job: (seen.append(job), answered(job))[1])
    study = tuning.Tuning(plan, launch, composer)
    tested = study.run()
    *trials, chosen = seen
    assert [job.number for job in trials] == [0, 1, 2, 3, 4]
    assert all(job.trial is not None for job in trials)
    assert chosen.trial is None
    assert f"tuned_by=[{study.study.run_id}]" in chosen.overrides
    best = min(trials, key=lambda job: float(job.own[0].partition("=")[2]))
    own = best.overrides[len(plan.words) :]
    assert len(own) == 2
    assert chosen.overrides[: len(best.overrides)] == best.overrides

    table = pd.read_csv(run_folder(studies, study.study.run_id) / "trials.csv")
    assert table["number"].tolist() == [0, 1, 2, 3, 4]
    assert set(table["state"]) == {"finished"}
    assert table["value"].tolist() == pytest.approx(table["param/optimizer.lr"].tolist())
    folder = run_folder(studies, study.study.run_id)
    optimism = json.loads((folder / "optimism.json").read_text())
    assert (optimism["metric"], optimism["trials"], optimism["groups"]) == ("log_loss", 5, 20)
    assert f"Trial {best.number} was chosen" in (folder / "study.html").read_text()
    client = MlflowClient(plan.config.tracking.uri)
    assert client.get_run(study.study.run_id).info.status == "FINISHED"

    words = [*plan.words, *own, f"tuned_by=[{study.study.run_id}]"]
    (path,) = (studies / "conf" / "experiment").glob("*.yaml")
    assert f"experiment={path.stem}</pre>" in (folder / "study.html").read_text()
    searched = f"hydra.searchpath=[file://{studies}/conf]"
    read = compose("train", [f"experiment={path.stem}", searched, f"paths.root={studies}"])
    given = compose("train", words)
    for config in (read, given):
        config.name = ""
    assert OmegaConf.to_container(read) == OmegaConf.to_container(given)

    again = tuning.Tuning(plan, launched(lambda job: pytest.fail("nothing is missing")), composer)
    assert again.run() == tested


@pytest.mark.parametrize("status", ["FINISHED", "KILLED"])
def test_a_sweep_that_was_killed_while_it_tested_its_choice_tests_it_once(
    status: str, planned: Callable, answered: Callable[[Job], Result], finished_run: Callable[[str], str]
) -> None:
    plan, composer = planned(LR, "hydra.sweeper.n_trials=2")
    client = MlflowClient(plan.config.tracking.uri)
    begun: list[str] = []

    def answer(job: Job) -> Result:
        if job.trial is None:
            begun.append(finished_run(job.parent))
            for name, value in (job.tags | {"versions": "torch 2"}).items():
                client.set_tag(begun[-1], name, value)
            client.set_terminated(begun[-1], status)
            raise KeyboardInterrupt
        return answered(job)

    with pytest.raises(KeyboardInterrupt):
        tuning.Tuning(plan, launched(answer), composer).run()
    seen: list[Job] = []

    def resume(job: Job) -> Result:
        seen.append(job)
        client.set_terminated(begun[0], "FINISHED")
        return Result("finished", begun[0], 0.5)

    assert tuning.Tuning(plan, launched(resume), composer).run() == begun[0]
    assert len(begun) == 1
    assert [job.overrides[-1] for job in seen] == ([f"resume={begun[0]}"] if status == "KILLED" else [])
    again = tuning.Tuning(plan, launched(lambda job: pytest.fail("it was tested")), composer)
    assert again.run() == begun[0]


def run_folder(root: Path, run_id: str) -> Path:
    return root / "mlruns" / "artifacts" / run_id / "artifacts"


def test_several_goals_leave_the_choice_to_the_user(
    planned: Callable, answered: Callable[[Job], Result], studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    goals = "hydra.sweeper.goals=[val/loss,latency]"
    plan, composer = planned(LR, goals, "hydra.sweeper.n_trials=3")
    study = tuning.Tuning(plan, launched(answered), composer)
    study.announce()
    said = capsys.readouterr().out
    assert f"optuna-dashboard sqlite:///{studies}/optuna.db" in said
    assert "With several goals no trial is pruned." in said
    assert study.run() is None
    assert len(list((studies / "conf" / "experiment").glob("*.yaml"))) == 3  # no trial exceeds another
    table = pd.read_csv(run_folder(studies, study.study.run_id) / "trials.csv")
    assert {"value_0", "value_1"} <= set(table)
    assert "Choose one of these before you look at its test" in capsys.readouterr().out
    page = (run_folder(studies, study.study.run_id) / "study.html").read_text()
    assert "3 trials that no other trial exceeds in validation loss and latency [ms]" in page


def test_trials_that_fail_one_after_another_end_the_sweep(planned: Callable, answered: Callable) -> None:
    plan, composer = planned(LR, "hydra.sweeper.n_trials=20")
    launch = launched(lambda job: Result("failed", error="The memory of the GPU is full."))
    study = tuning.Tuning(plan, launch, composer)
    with pytest.raises(TrainingError, match="5 trials failed one after another"):
        study.run()
    assert len(study.study.trials) == 5


def test_a_trial_that_fails_alone_is_replaced(planned: Callable, answered: Callable[[Job], Result]) -> None:
    plan, composer = planned(LR, "hydra.sweeper.n_trials=3")
    launch = launched(lambda job: Result("failed") if job.number == 1 else answered(job))
    study = tuning.Tuning(plan, launch, composer)
    study.run()
    assert (study.study.done, len(study.study.trials)) == (3, 4)


def test_a_disk_that_is_full_in_the_middle_of_a_study_loses_none_of_its_trials(
    planned: Callable, answered: Callable[[Job], Result], studies: Path
) -> None:
    plan, composer = planned(LR, "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler=random")
    told = []

    def answer(job: Job) -> Result:
        if job.number == 2 and not told[2:]:  # from here on the file cannot grow, as on a full disk
            event.listen(study.study.database.storage.engine, "begin", no_further_page)
        told.append(job.number)
        return Result("finished", f"run{job.number}" + 8000 * "-", 0.5)

    study = tuning.Tuning(plan, launched(answer), composer)
    with pytest.raises(StorageError, match=r"optuna\.db cannot be written: .* the study goes on where it"):
        study.run()
    assert told == [0, 1, 2]
    again = tuning.Tuning(plan, launched(answer), composer)
    kept = [trial.number for trial in again.study.trials if trial.value is not None]
    assert kept == [0, 1]
    again._run_trials()
    assert again.study.done == 4


def no_further_page(connection: Connection) -> None:
    connection.exec_driver_sql("PRAGMA max_page_count = 1")  # the file keeps the pages that it has


def test_a_password_is_in_no_file_of_a_job(
    planned: Callable, answered: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FIBROLAB_PASSWORD", raising=False)
    (word,) = tuning.to_environment(["postgresql://me:secret@host/db"])
    assert word == "postgresql://me:${oc.env:FIBROLAB_PASSWORD}@host/db"


def test_each_outer_fold_has_a_study_of_its_own_and_the_tests_are_pooled(
    planned: Callable, answered: Callable[[Job], Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Job] = []
    pooled = {}

    def pool(config: DictConfig, runs: dict[Place, str]) -> str:
        pooled.update(runs, name=config.name, folds=config.split.folds)
        return "nested"

    monkeypatch.setattr(tuning.cross_validation, "pool", pool)
    words = [LR, "sweep.outer_folds=2", "hydra.sweeper.n_trials=1", "hydra.sweeper.study_name=ours"]
    plan, composer = planned(*words)
    launch = launched(lambda job: (seen.append(job), answered(job))[1])
    assert tuning.tune(words_of(plan), composer.master, composer.loader, launch) == "nested"
    assert [job.trial.study if job.trial else "chosen" for job in seen] == [
        "ours-outer-0", "chosen", "ours-outer-1", "chosen",
    ]  # fmt: skip
    assert {"split=kfold", "split.folds=2", "split.fold=1"} <= set(seen[2].overrides)
    assert set(pooled) == {Place(0, 0), Place(0, 1), "name", "folds"}
    assert (pooled["name"], pooled["folds"]) == ("ours", 2)


def words_of(plan: tuning.Plan) -> list[str]:
    return [LR, *plan.words]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sweep.outer_folds=1"], "is not a whole number from 2"),
        (["sweep.outer_folds=3", "split=grouped"], "leave split=grouped out"),
        (["sweep.outer_folds=3", "repeats=2"], "leave folds and repeats out"),
    ],
)
def test_outer_folds_that_contradict_the_settings_are_refused(
    planned: Callable, words: list[str], sentence: str
) -> None:
    plan, composer = planned(LR, *words)
    with pytest.raises(ConfigError, match=sentence):
        tuning.tune(words_of(plan), composer.master, composer.loader, launched(lambda job: Result("failed")))
