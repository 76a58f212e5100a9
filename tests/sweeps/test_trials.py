"""A trial as its own process trains it: it sees training and validation; nothing is tested or reported."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from compose import composed, configs
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from mlflow.tracking import MlflowClient

from fibrolab import cross_validation, keys, pipeline
from fibrolab.errors import StorageError
from fibrolab.runs import open_run
from fibrolab.sweeps import jobs, search_algorithms, search_space
from fibrolab.sweeps.jobs import Job, Result, Trial
from fibrolab.sweeps.shared_study import PRUNER, Database, Goal, SharedStudy

QUICK = [
    "data.patients=60", "data.images_per_patient=1", "data.size=32", "trainer.max_epochs=2", "batch_size=16",
    "trainer.accelerator=cpu", "num_workers=0",
]  # fmt: skip
Trained = Callable[..., tuple[Result, SharedStudy]]


@pytest.fixture
def trained(root: Path, studies: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trained]:
    """Return a function that trains the next trial of a study in this process, as its child process does."""
    storage = f"sqlite:///{studies}/optuna.db"
    space = search_space.parsed({"optimizer.lr": "tag(log, interval(1e-3, 1e-2))"})
    study = SharedStudy(Database(storage), "study", [Goal("val/loss", "min")], space, {}, lambda: "parent")

    def train(*words: str, pruner: str = "none") -> tuple[Result, SharedStudy]:
        study.study.set_user_attr(PRUNER, [pruner, 2])
        asked = study.ask(100, lambda number: search_algorithms.build("random", space, number), studies)
        assert asked is not None
        trial, values = asked
        own = tuple(f"{key}={value}" for key, value in values.items())
        handle = Trial(storage, "study", trial._trial_id)
        job = Job(trial.number, (*QUICK, *words, *own), own, studies, "", {"fibrolab.trial": 7}, handle)
        monkeypatch.setenv(jobs.VARIABLE, str(jobs.write(job)))
        with configs():
            config = compose("train", [*job.overrides, f"paths.root={root}"], return_hydra_config=True)
        monkeypatch.setattr(HydraConfig.instance(), "cfg", config)
        cross_validation.run(composed(*job.overrides, f"paths.root={root}"))
        result = jobs.left_in(job.folder)
        assert result is not None
        study.tell(trial.number, result)
        return result, study

    return train


def files(root: Path, run: str | None) -> Path:
    return root / "mlruns" / "artifacts" / str(run) / "artifacts"


def test_a_trial_tests_and_reports_nothing(trained: Trained, root: Path) -> None:
    result, study = trained()
    place = files(root, result.run)
    left = {path.name for path in place.iterdir()}
    assert left == {
        "config.yaml",
        "environment.json",
        "history.csv",
        "manifest.csv",
        "predictions.csv",
        "split.csv",
    }
    assert set(pd.read_csv(place / keys.PREDICTIONS_FILE)[keys.PARTITION]) == {keys.VALIDATION}
    history = pd.read_csv(place / keys.HISTORY_FILE)
    assert result.state == "finished"
    assert result.value == pytest.approx(history["val/loss"].min(), rel=1e-5)
    assert {"val/loss", "val/qwk", "val/sensitivity_ge_F2", "latency"} <= set(result.metrics)
    assert study.trials[0].intermediate_values == pytest.approx(
        dict(enumerate(history["val/loss"], 1)), rel=1e-5
    )
    run = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db").get_run(str(result.run))
    assert not [name for name in run.data.metrics if name.startswith("test/")]
    assert run.data.tags["fibrolab.trial"] == "7"
    assert run.info.status == "FINISHED"


def test_a_pruned_trial_ends_early_and_predicts_nothing(trained: Trained, root: Path) -> None:
    _, study = trained()
    good = study.trials[0]
    for _ in range(search_algorithms.FIRST):  # trials whose median no training reaches
        study.study.add_trial(_copied(good, 1e-6))
    result, _ = trained(pruner="median")
    assert result.state == "pruned"
    assert len(pd.read_csv(files(root, result.run) / keys.HISTORY_FILE)) == 1
    assert not (files(root, result.run) / keys.PREDICTIONS_FILE).exists()
    assert study.trials[-1].state.name == "PRUNED"
    assert study.trials[-1].user_attrs["run"] == result.run


def _copied(trial, value: float):
    import optuna

    return optuna.trial.create_trial(
        params=trial.params, distributions=trial.distributions, value=value, intermediate_values={1: value}
    )


@pytest.mark.parametrize(
    ("error", "kept"), [(StorageError("The disk is full."), False), (KeyboardInterrupt(), True)]
)
def test_a_trial_that_fails_keeps_no_networks_and_an_interrupted_one_may_go_on(
    error: BaseException, kept: bool, trained: Trained, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object) -> None:
        raise error

    monkeypatch.setattr(pipeline, "_end_trial", end)
    with pytest.raises(type(error)):
        trained("trainer.max_epochs=1")
    (history,) = (root / "mlruns" / "artifacts").glob("*/artifacts/history.csv")
    assert (history.parent / keys.CHECKPOINTS).exists() == kept


def test_the_value_of_folds_is_their_mean_and_each_is_a_step(trained: Trained, root: Path) -> None:
    result, study = trained("split=folds_in_training", "split.folds=2", "folds=all", "trainer.max_epochs=1")
    steps = study.trials[0].intermediate_values
    assert list(steps) == [1, 2]
    assert result.value == pytest.approx(sum(steps.values()) / 2)
    assert study.trials[0].value == pytest.approx(result.value)
    run = open_run(files(root, result.run))
    assert set(run.split[keys.PARTITION]) == {keys.TRAIN, keys.TEST}  # of which the folds saw no test sample
    for path in (root / "mlruns" / "artifacts").glob("*/artifacts/predictions.csv"):
        assert set(pd.read_csv(path)[keys.PARTITION]) == {keys.VALIDATION}
    assert json.loads((files(root, result.run) / keys.ENVIRONMENT_FILE).read_text())["format"] == keys.FORMAT


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_two_ranks_train_one_trial_with_one_set_of_parameters_and_end_together(
    trained: Trained, root: Path
) -> None:
    first, study = trained("trainer=ddp_cpu")
    assert first.state == "finished"
    assert len(study.trials) == 1
    assert list(study.trials[0].intermediate_values) == [1, 2]
    run = open_run(files(root, first.run))
    assert run.config.optimizer.lr == study.trials[0].params["optimizer.lr"]
    for _ in range(search_algorithms.FIRST):
        study.study.add_trial(_copied(study.trials[0], 1e-6))
    second, _ = trained("trainer=ddp_cpu", pruner="median")
    assert second.state == "pruned"
    assert len(pd.read_csv(files(root, second.run) / keys.HISTORY_FILE)) == 1
