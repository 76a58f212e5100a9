"""Training without a validation part: the last epoch is kept, and what needs one is refused before."""

import json
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch
from compose import composed, prepared
from drawn import unrendered

from fibrolab import cross_validation, keys
from fibrolab.analyses import comparing, evaluating, stacking
from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation import predictions
from fibrolab.pipeline import train
from fibrolab.runs import TrainedRun, answering, open_run, validation_pictures
from fibrolab.training import settings

NO_VALIDATION = ["split=kfold", "split.folds=2", "split.val=0"]
WORDS = [
    *NO_VALIDATION, "callbacks.early_stopping=null", "trainer.max_epochs=2", "predict_train=true",
    "batch_size=16", "num_workers=0", "bootstrap.resamples=20", "trainer.accelerator=cpu", "data.patients=60",
    "data.images_per_patient=2", "data.size=32",
]  # fmt: skip


def uri(root: Path) -> str:
    return f"sqlite:///{root}/mlruns/mlflow.db"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path, cache: Path) -> Path:
    return prepared(tmp_path_factory.mktemp("folds"), fresh_database, cache)


@pytest.fixture(scope="module")
def folds(place: Path) -> TrainedRun:
    """A cross-validation of two folds."""
    with unrendered():
        found = cross_validation.train(composed(f"paths.root={place}", "folds=all", *WORDS))
    assert found.best is None
    return open_run(found.id, uri(place))


@pytest.fixture(scope="module")
def fold(folds: TrainedRun, place: Path) -> TrainedRun:
    """Its first fold."""
    return open_run(folds.networks["run"][0], uri(place))


def test_half_of_the_samples_train_and_the_other_half_is_tested(fold: TrainedRun, folds: TrainedRun) -> None:
    assert fold.split[keys.PARTITION].value_counts().to_dict() == {keys.TRAIN: 60, keys.TEST: 60}
    assert set(fold.predictions[keys.PARTITION]) == {keys.TEST}
    assert len(fold.training_predictions) == 60
    assert len(predictions.select(folds.predictions, keys.TEST)) == 120


def test_a_batch_of_every_stage_runs_without_a_warning_on_the_empty_part(place: Path) -> None:
    with unrendered(), warnings.catch_warnings(record=True) as warned:
        train(composed(f"paths.root={place}", *WORDS, "debug=fast_dev_run"))
    assert not [each for each in warned if "DataLoader" in str(each.message)]


def test_the_weights_are_those_of_the_last_epoch(fold: TrainedRun) -> None:
    kept = torch.load(fold.folder / keys.CHECKPOINTS / keys.BEST, weights_only=True)
    last = torch.load(fold.folder / keys.CHECKPOINTS / keys.LAST, weights_only=True)
    assert kept["epoch"] == 1
    assert all(torch.equal(value, last["state_dict"][name]) for name, value in kept["state_dict"].items())
    assert not [name for name in fold.history if name.startswith("val/")]


def test_end_points_are_decided_at_one_half_and_nothing_is_fitted(fold: TrainedRun) -> None:
    table = fold.table("endpoints")
    assert table.loc[table["rule"] == "half", "value"].notna().any()
    assert table.loc[table["rule"] == "youden", "threshold"].isna().all()
    scaled = fold.table("calibration").query("probabilities == 'temperature'")
    assert len(scaled)
    assert scaled["temperature"].isna().all()
    rules = answering.rules(fold, 0.1)
    assert set(rules[answering.SAMPLE].thresholds.values()) == {0.5}
    assert rules[answering.PATIENT].thresholds.keys() == rules[answering.SAMPLE].thresholds.keys()
    answers = rules[answering.SAMPLE].answers(predictions.probabilities(fold.predictions))
    assert (answers[answering.SET] == "").all()
    assert not fold.predictor.reference.can_tell  # too few samples to call a new one untypical


@pytest.mark.parametrize("name", ["fold", "folds"])
def test_the_report_says_so(name: str, request: pytest.FixtureRequest) -> None:
    page = (request.getfixturevalue(name).folder / keys.REPORT_FILE).read_text()
    assert "There is no validation set: the weights of the last epoch were used" in page
    assert "On the validation set" not in page


def test_a_run_is_evaluated_again_and_compared_at_one_half(folds: TrainedRun, place: Path) -> None:
    words = (f"run={folds.run_id}", "bootstrap.resamples=20", f"paths.root={place}")
    with unrendered():
        evaluating.evaluate(composed(*words, name="evaluate"))
        runs = ["runs=[{},{}]".format(*folds.networks["run"]), "paired=false", "unit=sample"]
        done = comparing.run(composed(*words[1:], *runs, name="compare"))
    assert TrainedRun(folds.folder).metrics.equals(folds.metrics)
    (folder,) = place.glob(f"mlruns/artifacts/{done}/artifacts")
    table = pd.read_csv(folder / "comparison.csv")
    decided = table[(table["family"] == "thresholds") & (table["metric"] == "sensitivity")]
    assert decided.loc[decided["against"].isna(), "value"].notna().any()


def test_what_needs_validation_samples_of_a_run_says_that_it_has_none(folds: TrainedRun, place: Path) -> None:
    with pytest.raises(DataError, match=r"no validation samples, .*folds_in_training folds=all"):
        stacking.run(composed(f"paths.root={place}", f"runs=[{folds.run_id}]", name="stack"))
    with pytest.raises(DataError, match=r"training without any \(split\.val=0\)"):
        validation_pictures.answers(folds, answering.rules(folds, 0.1)[answering.SAMPLE])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "callbacks.early_stopping watches val/loss: set callbacks.early_stopping=null."),
        (["scheduler=plateau"], "scheduler=plateau watches val/loss: choose scheduler=constant or"),
        (["trainer.val_check_interval=5"], "leave trainer.val_check_interval out."),
        (["+callbacks.own._target_=lightning.pytorch.callbacks.ModelCheckpoint"], "callbacks.own watches"),
        (["task=segmentation", "model=unet", "data=table", "data.path=README.md"], "set split.val=0.15."),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_settings_that_need_validation_are_refused_with_what_to_change(
    words: list[str], sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.check(composed(*NO_VALIDATION, *words))
    assert "split.val=0 leaves no validation samples" in str(caught.value)
    assert sentence in str(caught.value)


def test_a_saved_split_without_validation_is_refused_before_training(
    fold: TrainedRun, place: Path, tmp_path: Path
) -> None:
    words = [word for word in WORDS if not word.startswith(("split", "callbacks"))]
    words += ["split=saved", f"split.path={fold.folder / keys.SPLIT_FILE}", f"paths.root={place}"]
    with pytest.raises(ConfigError, match=r"split=saved has no validation sample, and callbacks\.early_stop"):
        cross_validation.train(composed(*words))


def test_folds_have_a_table_with_mean_and_sd(folds: TrainedRun) -> None:
    table = folds.table("folds").query("metric == 'sensitivity_F4'")
    assert table["value"].iloc[-1] == pytest.approx(table["value"].iloc[:2].mean())
    assert pd.notna(table["sd"].iloc[-1])
    assert json.loads((folds.folder / keys.AUDIT_FILE).read_text())["verdict"] in keys.VERDICTS
