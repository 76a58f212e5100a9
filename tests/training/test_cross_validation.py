"""Folds and repetitions as one run: trained as its children, pooled, resumed, compared, used as any run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commanded import command
from compose import composed, prepared
from drawn import unrendered, unreported
from hydra.core.hydra_config import HydraConfig
from mlflow.tracking import MlflowClient
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from fibrolab import cross_validation, keys, pipeline
from fibrolab.analyses import comparing, evaluating, external, stacking
from fibrolab.cross_validation import Place, places, settings_at
from fibrolab.errors import ConfigError, SplitError
from fibrolab.evaluation import predictions
from fibrolab.explanation import maps
from fibrolab.runs import TrainedRun, new_input, open_run
from fibrolab.training import settings
from fibrolab.training.initial_weights import with_weights_of_runs

PHANTOM = ["data.patients=60", "data.images_per_patient=2", "data.size=32"]
QUICK = ["trainer.max_epochs=1", "batch_size=16", "bootstrap.resamples=20", "trainer.accelerator=cpu"]
FOLDS = ["folds=all", "split=kfold", "split.folds=2", "num_workers=0", *QUICK, *PHANTOM]


def uri(root: Path) -> str:
    return f"sqlite:///{root}/mlruns/mlflow.db"


def trained(root: Path, *words: str) -> TrainedRun:
    with unreported():
        found = cross_validation.train(composed(f"paths.root={root}", *words))
    return open_run(found.id, uri(root))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, fresh_database: Path, cache: Path) -> Path:
    return prepared(tmp_path_factory.mktemp("folds"), fresh_database, cache)


@pytest.fixture(scope="module")
def crossed(place: Path) -> TrainedRun:
    """A cross-validation of two folds."""
    return trained(place, *FOLDS)


@pytest.fixture(scope="module")
def resumed(place: Path, crossed: TrainedRun) -> TrainedRun:
    """The same with another loss, whose second fold was interrupted and then trained by `resume`."""
    original = pipeline.train

    def interrupted(config, part):
        if config.split.fold == 1:
            raise KeyboardInterrupt
        return original(config, part)

    config = composed(f"paths.root={place}", "loss=focal", *FOLDS)
    with pytest.MonkeyPatch.context() as patch, unreported():
        patch.setattr(pipeline, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cross_validation.train(config)
    (run,) = MlflowClient(uri(place)).search_runs(["1"], "attributes.status = 'KILLED'")
    assert len(cross_validation.children(uri(place), run.info.run_id)) == 1
    return trained(place, f"resume={run.info.run_id}")


def test_the_trainings_are_children_with_their_place_and_the_parent_has_finished(
    crossed: TrainedRun, place: Path
) -> None:
    client = MlflowClient(uri(place))
    children = client.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{crossed.run_id}'")
    found = {run.data.tags["fibrolab.fold"]: run for run in children}
    assert sorted(found) == ["0", "1"]
    assert {run.info.status for run in children} == {"FINISHED"}
    assert found["1"].info.run_name == "fold 1 single-phantom"
    assert found["1"].data.tags["command"].endswith("seed=0 split.fold=1 split.seed=0")
    parent = client.get_run(crossed.run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["fibrolab.networks"] == "2"
    best = [run.data.metrics["best/loss"] for run in children]
    assert parent.data.metrics["best/loss"] == pytest.approx(sum(best) / 2, rel=1e-5)
    assert parent.data.metrics["test/accuracy"] == pytest.approx(
        crossed.metrics.set_index("metric").value["accuracy"]
    )


def test_the_curves_of_the_folds_and_their_mean_are_those_of_the_parent(
    crossed: TrainedRun, resumed: TrainedRun, place: Path
) -> None:
    client = MlflowClient(uri(place))
    for run in (crossed, resumed):
        folds = pd.read_csv(run.folder / keys.NETWORK_HISTORIES_FILE)
        own = pd.concat([open_run(each, uri(place)).history for each in run.networks["run"]])
        assert folds[list(own)].equals(own.reset_index(drop=True))
        (point,) = client.get_metric_history(run.run_id, "val/loss")
        assert (point.step, point.value) == (0, pytest.approx(own["val/loss"].mean(), rel=1e-5))


def test_the_run_of_all_folds_enters_the_ledger_of_test_sets_once(crossed: TrainedRun, place: Path) -> None:
    assert (crossed.test_set["samples"], crossed.test_set["kind"]) == (120, "train")
    client = MlflowClient(uri(place))
    tags = [client.get_run(run_id).data.tags for run_id in (crossed.run_id, *crossed.networks["run"])]
    assert ["fibrolab.test_set" in each for each in tags] == [True, False, False]


def test_each_sample_is_predicted_by_the_network_that_left_it_out(crossed: TrainedRun, place: Path) -> None:
    test = predictions.select(crossed.predictions, keys.TEST).set_index(keys.SAMPLE_ID)
    assert sorted(test.index) == sorted(crossed.samples.index)
    for fold, run_id in crossed.networks[[keys.FOLD, "run"]].to_numpy().tolist():
        child = open_run(run_id, uri(place))
        own = predictions.select(child.predictions, keys.TEST).set_index(keys.SAMPLE_ID)
        pd.testing.assert_frame_equal(test[test[keys.FOLD] == fold].loc[own.index], own)
        assert set(own.index).isdisjoint(child.learnt_from.index)
    assert set(crossed.learnt_from.index) == set(crossed.samples.index)


def test_a_fold_equals_the_same_fold_trained_alone(crossed: TrainedRun, place: Path) -> None:
    with unreported():
        alone = pipeline.train(composed(f"paths.root={place}", *FOLDS, "folds=null", "split.fold=1"))
    ours = open_run(crossed.networks["run"][1], uri(place)).predictions
    pd.testing.assert_frame_equal(open_run(alone.id, uri(place)).predictions, ours)


def test_folds_with_settings_of_their_own_are_pooled_as_those_of_one_command(
    crossed: TrainedRun, place: Path
) -> None:
    runs = {Place(0, fold): run for fold, run in crossed.networks[[keys.FOLD, "run"]].to_numpy().tolist()}
    with unrendered():
        pooled = cross_validation.pool(composed(f"paths.root={place}", *FOLDS, "name=nested"), runs)
    found = open_run(pooled, uri(place))
    pd.testing.assert_frame_equal(found.predictions, crossed.predictions)
    pd.testing.assert_frame_equal(found.metrics, crossed.metrics)


def test_the_report_shows_every_fold_the_mean_and_how_they_were_pooled(crossed: TrainedRun) -> None:
    page = (crossed.folder / keys.REPORT_FILE).read_text()
    assert "Pooled over 2 trainings: each test sample is predicted by the network of the fold" in page
    table = pd.read_csv(crossed.folder / "tables" / "folds.csv").set_index("Measure")
    assert list(table) == ["Fold 0", "Fold 1", "Mean ± SD", "95\u00a0% CI of the mean"]
    assert "Thin lines: the networks; thick line: their mean" in page
    own = crossed.table("folds").query("metric == 'accuracy'")
    assert own["value"].iloc[-1] == pytest.approx(own["value"].iloc[:2].mean())


def test_the_networks_of_the_folds_predict_new_data_by_their_mean(crossed: TrainedRun, place: Path) -> None:
    words = [f"run={crossed.run_id}", "data=phantom", "data.seed=5", *PHANTOM, "accelerator=cpu"]
    settings = composed(f"paths.root={place}", "bootstrap.resamples=20", *words, name="evaluate")
    with unrendered():
        new = open_run(external.run(settings), uri(place))
    test = predictions.select(new.predictions, keys.TEST).set_index(keys.SAMPLE_ID)
    assert len(test) == 120
    assert set(new.samples[keys.PARTITION]) == {keys.TRAIN, keys.TEST}  # all samples of the folds were learnt
    each = [network.path.name for network in crossed.predictors]
    assert each == ["repeat0_fold0.ckpt", "repeat0_fold1.ckpt"]


@pytest.fixture(scope="module")
def repeated(place: Path) -> TrainedRun:
    """A cross-validation of two folds, drawn twice."""
    return trained(place, *FOLDS, "repeats=2")


def explained(place: Path, run: TrainedRun, *words: str) -> tuple[pd.DataFrame, str]:
    """Explain a run by the command; return the table of its maps and what is printed."""
    own = [f"run={run.run_id}", "samples=6", "num_workers=0", "accelerator=cpu"]
    with unrendered():
        ended = command("explain", f"paths.root={place}", *own, *words)
    assert ended.returncode == 0, ended.stderr
    folder = place / "new" if words and words[0].startswith("input=") else run.folder
    return maps.read(folder).table.set_index(keys.SAMPLE_ID), ended.stdout


def check_networks(place: Path, run: TrainedRun, folds: int, verdict: str) -> None:
    """Explain a run, and assert that its predictions are those of the explanation."""
    found, printed = explained(place, run)
    own = predictions.select(run.predictions, keys.TEST).set_index(keys.SAMPLE_ID).loc[found.index]
    assert (len(own), own[keys.FOLD].nunique()) == (6, folds)
    columns = [name for name in own if name.startswith("p_")]
    np.testing.assert_allclose(found[columns], own[columns], atol=1e-6)
    assert verdict in printed
    assert verdict in (run.folder / keys.EXPLANATION_PAGE).read_text()


@pytest.mark.slow
def test_samples_of_folds_are_explained_by_the_networks_that_left_them_out(
    crossed: TrainedRun, place: Path
) -> None:
    check_networks(place, crossed, 2, "Tested: 3 samples of one of 2 networks.")


@pytest.mark.slow
def test_samples_of_an_external_evaluation_are_explained_by_all_networks(
    crossed: TrainedRun, place: Path
) -> None:
    words = [f"run={crossed.run_id}", "data=phantom", "data.seed=5", *PHANTOM, "accelerator=cpu"]
    with unrendered():
        run_id = external.run(composed(f"paths.root={place}", *words, name="evaluate"))
    check_networks(place, open_run(run_id, uri(place)), 1, "Tested: 6 samples of one of 2 networks.")


@pytest.mark.slow
def test_samples_are_explained_by_a_network_of_each_repetition(repeated: TrainedRun, place: Path) -> None:
    check_networks(place, repeated, 2, "of one of 4 networks.")


@pytest.mark.slow
def test_two_runs_are_shown_side_by_side_on_the_same_samples(
    crossed: TrainedRun, repeated: TrainedRun, place: Path
) -> None:
    words = [f"run=[{crossed.run_id},{repeated.run_id}]", "num_workers=0", "accelerator=cpu"]
    with unrendered():
        ended = command("explain", f"paths.root={place}", *words)
    assert ended.returncode == 0, ended.stderr
    for run in (crossed, repeated):
        assert (run.folder / keys.EXPLANATION / keys.FIGURES / "arms_gradcam.png").is_file()
        assert "The same samples in several runs" in (run.folder / keys.EXPLANATION_PAGE).read_text()


@pytest.mark.slow
def test_validation_samples_are_explained_by_the_networks_that_held_them_out(
    repeated: TrainedRun, place: Path
) -> None:
    found, _ = explained(place, repeated, "partition=validation")
    frame = repeated.network_predictions
    columns = [name for name in frame if name.startswith("p_")]
    own = frame[frame[keys.PARTITION] == keys.VALIDATION].groupby(keys.SAMPLE_ID)[columns].mean()
    np.testing.assert_allclose(found[columns], own.loc[found.index], atol=1e-6)


@pytest.mark.slow
def test_new_pictures_are_explained_by_all_networks_of_the_folds(crossed: TrainedRun, place: Path) -> None:
    pixels = np.random.default_rng(0).integers(1, 256, (40, 50), dtype=np.uint8)
    Image.fromarray(pixels).save(picture := place / "picture.png")
    found, printed = explained(place, crossed, f"input={picture}", f"folder={place / 'new'}")
    answers = crossed.predict(
        new_input.read(picture, crossed.predictors[0].record, [keys.IMAGE]), place / "cache"
    )
    columns = [name for name in found if name.startswith("p_")]
    np.testing.assert_allclose(found[columns], answers[columns], atol=1e-6)
    assert "Tested: 1 sample of one of 2 networks." in printed


def test_a_run_that_needs_one_network_names_those_of_the_folds(crossed: TrainedRun, place: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        crossed.network()
    assert "is an ensemble of 2 networks, and one is needed" in str(caught.value)
    assert f"{crossed.networks['run'][1]} (fold 1)" in str(caught.value)
    branch = f"model.branches.image.weights=run:{crossed.run_id}"
    with pytest.raises(ConfigError, match="name the run of one of them"):
        with_weights_of_runs(composed(f"paths.root={place}", branch), data=None)


def test_it_is_evaluated_again_from_its_own_files(crossed: TrainedRun, place: Path) -> None:
    before = crossed.metrics
    words = (f"run={crossed.run_id}", "bootstrap.resamples=20")
    with unrendered():
        evaluating.evaluate(composed(f"paths.root={place}", *words, name="evaluate"))
    pd.testing.assert_frame_equal(TrainedRun(crossed.folder).metrics, before)


def test_a_missing_fold_is_trained_alone_and_the_others_are_kept(resumed: TrainedRun, place: Path) -> None:
    assert len(resumed.networks) == 2
    client = MlflowClient(uri(place))
    children = client.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{resumed.run_id}'")
    assert sorted(run.data.tags["fibrolab.fold"] for run in children) == ["0", "1"]
    assert client.get_run(resumed.run_id).info.status == "FINISHED"
    assert resumed.config.loss.name == "focal"
    assert resumed.environment["command"].count("resume") == 0
    with pytest.raises(ConfigError, match="there is nothing to resume"):
        cross_validation.train(composed(f"paths.root={place}", f"resume={resumed.run_id}"))


def test_an_interruption_after_the_last_fold_returns_a_job_of_slurm_to_the_queue(
    place: Path, crossed: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def status() -> str:
        return MlflowClient(uri(place)).search_runs(["1"], max_results=1)[0].info.status

    def train_missing(config: DictConfig, parent: str, finished: dict[Place, str], *_: object) -> None:
        finished.update(dict.fromkeys(places(config), crossed.run_id))

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cross_validation, "_train_missing", train_missing)
    monkeypatch.setattr(cross_validation, "_pooled", interrupted)
    monkeypatch.setattr("fibrolab.slurm._requeue", lambda job: asked.append((job, status())))
    monkeypatch.setattr("fibrolab.slurm._is_cancelled", lambda _: False)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with pytest.raises(KeyboardInterrupt):
        cross_validation.train(composed(f"paths.root={place}", "trainer.requeue=true", *FOLDS))
    assert asked == [("77", "KILLED")]


def test_missing_folds_are_not_trained_longer_than_the_others(
    place: Path, crossed: TrainedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MlflowClient(uri(place))
    client.update_run(crossed.run_id, status="KILLED")
    try:
        for word in ("trainer.max_epochs=3", "callbacks.early_stopping.patience=4"):
            with pytest.raises(ConfigError, match=rf"fold 0 has finished with .*would have {word}: all are"):
                cross_validation.train(composed(f"paths.root={place}", f"resume={crossed.run_id}", word))
        assert client.get_run(crossed.run_id).info.status == "KILLED"
    finally:
        client.update_run(crossed.run_id, status="FINISHED")


def test_two_cross_validations_are_compared_fold_by_fold(
    crossed: TrainedRun, resumed: TrainedRun, place: Path
) -> None:
    words = [f"runs=[{crossed.run_id},{resumed.run_id}]", "bootstrap.resamples=20"]
    with unrendered():
        done = comparing.run(composed(f"paths.root={place}", *words, name="compare"))
    (folder,) = place.glob(f"mlruns/artifacts/{done}/artifacts")
    table = pd.read_csv(folder / "comparison.csv")
    tests = table[(table["family"] == "folds") & table["against"].notna()]
    assert len(tests)
    assert set(tests["n"]) == {2}


def test_a_stack_refuses_folds_whose_validation_part_is_the_test_of_others(
    crossed: TrainedRun, place: Path
) -> None:
    with pytest.raises(SplitError, match="are both in the validation part"):
        stacking.run(composed(f"paths.root={place}", f"runs=[{crossed.run_id}]", name="stack"))


def test_one_batch_of_each_fold_inside_training_is_pooled_and_reported(root: Path) -> None:
    words = ["debug=fast_dev_run", "split=folds_in_training", "split.folds=2", "folds=all"]
    with unreported():
        found = cross_validation.train(composed(f"paths.root={root}", *words, *PHANTOM))
    assert found.best is None
    run = open_run(found.id, uri(root))
    assert run.networks[[keys.REPEAT, keys.FOLD]].to_numpy().tolist() == [[0, 0], [0, 1]]
    test = predictions.select(run.predictions, keys.TEST)
    assert not test[keys.SAMPLE_ID].duplicated().any()
    parts = [open_run(one, uri(root)).split for one in run.networks["run"]]
    tested = [set(part.loc[part[keys.PARTITION] == keys.TEST, keys.SAMPLE_ID]) for part in parts]
    assert tested[0] == tested[1]
    assert "All networks were tested on the same samples" in (run.folder / keys.REPORT_FILE).read_text()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["folds=all", "split=kfold", "split.folds=3"], [(0, 0), (0, 1), (0, 2)]),
        (["repeats=2"], [(0, 0), (1, 0)]),
        (["folds=all", "split=kfold", "split.folds=2", "repeats=2"], [(0, 0), (0, 1), (1, 0), (1, 1)]),
        ([], [(0, 0)]),
    ],
)
def test_every_repetition_trains_every_fold(words: list[str], expected: list[tuple[int, int]]) -> None:
    assert places(composed(*words)) == [Place(*each) for each in expected]


@pytest.mark.parametrize(
    ("words", "seed"),
    [
        (["folds=all", "split=kfold"], 8),  # repeated cross-validation draws other folds
        (["folds=all", "split=folds_in_training"], 6),  # the test part must stay
        (["split=grouped"], 6),
        (["split=kfold"], 6),
    ],
)
def test_only_a_repeated_cross_validation_draws_another_split(words: list[str], seed: int) -> None:
    changed = settings_at(composed("seed=1", "split.seed=6", "repeats=3", *words), Place(2, 0))
    assert (changed.seed, changed.split.seed) == (3, seed)
    assert (changed.folds, changed.repeats) == (None, 1)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["folds=all"], "folds=all: split=grouped has no folds; choose split=kfold"),
        (["folds=all", "split=kfold", "split.fold=2"], "split.fold=2 names one: leave one of them out"),
        (["folds=5"], "folds=5 is not all, or null"),
        (["repeats=0"], "repeats=0 is not a whole number from 1"),
    ],
)
def test_impossible_folds_are_refused_from_the_settings(words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.check(composed(*words))
    assert sentence in str(caught.value)


def test_a_split_joined_from_folds_has_each_sample_once(crossed: TrainedRun) -> None:
    split = crossed.split
    assert split[keys.SAMPLE_ID].tolist() == crossed.manifest[keys.SAMPLE_ID].tolist()
    assert set(split[keys.PARTITION]) == {keys.TEST}
    assert np.bincount(split[keys.FOLD].astype(int)).tolist() == [60, 60]


@pytest.mark.slow
@pytest.mark.timeout(900)  # two jobs of two folds
@pytest.mark.usefixtures("quick_children")
def test_a_sweep_over_folds_has_a_run_of_folds_a_job_and_compares_these(root: Path) -> None:
    words = ["-m", "debug=fast_dev_run", "loss=cross_entropy,focal", "folds=all", "split=kfold"]
    program = [
        sys.executable,
        "-m",
        "fibrolab.train",
        *words,
        "split.folds=2",
        *PHANTOM,
        f"paths.root={root}",
    ]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    client = MlflowClient(uri(root))
    runs = client.search_runs([client.get_experiment_by_name("debug").experiment_id])
    parents = {run.info.run_id: run.data.tags.get("mlflow.parentRunId", "") for run in runs}
    (sweep,) = [run_id for run_id, above in parents.items() if not above]
    jobs = {run_id for run_id, above in parents.items() if above == sweep}
    assert len(jobs) == 2
    assert sorted(parents.values()) == sorted(["", sweep, sweep, *jobs, *jobs])
    assert {run.info.status for run in runs} == {"FINISHED"}, done.stdout
    *_, last = [line for line in done.stdout.splitlines() if line.startswith("compare")]
    assert all(job in last for job in jobs)
    assert sum(run_id in last for run_id in parents) == 2


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("quick_children")
def test_folds_as_jobs_of_the_launcher_predict_the_same(crossed: TrainedRun, place: Path) -> None:
    words = [*FOLDS, "hydra.launcher.n_jobs=2", "hydra.launcher.gpus_per_job=0", f"paths.root={place}"]
    program = [sys.executable, "-m", "fibrolab.train", *words]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("run ")]
    assert len(cross_validation.children(uri(place), run)) == 2
    pd.testing.assert_frame_equal(open_run(run, uri(place)).predictions, crossed.predictions)


def test_a_fold_as_a_job_has_the_settings_of_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = composed("folds=all", "split=kfold", "repeats=2", f"paths.root={tmp_path}")
    now = OmegaConf.create(
        {"overrides": {"task": ["++trainer.max_epochs=5"]}, "runtime": {"output_dir": str(tmp_path)}}
    )
    monkeypatch.setattr(HydraConfig, "get", lambda: now)
    before = "python -m fibrolab.train --config-dir mine folds=all split=kfold trainer.max_epochs=3"
    job = cross_validation._job(config, Place(1, 2), "parent", before, "0123abcd")
    assert (job.number, job.folder, job.parent) == (7, tmp_path / "trainings" / "7", "parent")
    assert job.tags == {"fibrolab.repeat": 1, "fibrolab.fold": 2}
    assert job.overrides == (
        "folds=null", "split=kfold", "trainer.max_epochs=5", "seed=1", "split.fold=2", "split.seed=1",
        "name=repeat 1 fold 2 single-phantom", "repeats=1", "resume=0123abcd",
    )  # fmt: skip
