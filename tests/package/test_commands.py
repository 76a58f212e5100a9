"""The commands as a user runs them: train, sweep, resume, evaluate, and their errors."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import commanded
import pandas as pd
import pytest
import torch
from compose import composed, prepared
from drawn import unreported
from killed import differences
from mlflow.tracking import MlflowClient

from fibrolab import keys, pipeline

TINY = [
    "data.patients=60", "data.images_per_patient=1", "data.size=32", "batch_size=16", "num_workers=0",
    "scheduler=constant", "trainer.max_epochs=2", "trainer.accelerator=cpu", "bootstrap.resamples=50",
]  # fmt: skip


def fibrolab(
    root: Path, *words: str, module: str = "train", code: int = 0
) -> subprocess.CompletedProcess[str]:
    completed = subprocess.run(
        program(root, *words, module=module), capture_output=True, text=True, timeout=800
    )
    assert completed.returncode == code, completed.stderr
    return completed


def program(root: Path, *words: str, module: str = "train") -> list[str]:
    return [sys.executable, "-m", f"fibrolab.{module}", *words, f"paths.root={root}"]


def client(root: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{root}/mlruns/mlflow.db")


def runs(root: Path) -> list:
    experiments = [experiment.experiment_id for experiment in client(root).search_experiments()]
    return list(client(root).search_runs(experiments, order_by=["attributes.start_time ASC"]))


def folder_of(root: Path, run_id: str) -> Path:
    return root / "mlruns" / "artifacts" / run_id / "artifacts"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    root = tmp_path_factory.mktemp("trained")
    return root, fibrolab(root, *TINY)


def test_train_ends_with_numbers_beside_baseline_and_interval(trained: tuple) -> None:
    _, completed = trained
    for word in (
        "Accuracy",
        "Macro AUC",
        "Quadratic",
        "95\u00a0% CI",
        "20.0\u00a0%",
        "(majority",
        "report.html",
    ):
        assert word in completed.stdout
    assert "mlflow ui --backend-store-uri sqlite:///" in completed.stdout
    assert "-m fibrolab.compare 'runs=[" in completed.stdout
    assert "epoch 2/2" in completed.stdout


def test_the_run_in_mlflow_is_complete(trained: tuple) -> None:
    root, _ = trained
    (run,) = runs(root)
    assert run.info.status == "FINISHED"
    assert run.data.params["model.branches.image.name"] == "test_resnet"
    assert run.data.params["optimizer.lr"] == "0.003"
    assert not [name for name in run.data.params if "/" in name]  # names that Lightning would log
    assert {
        "test/accuracy",
        "test/macro_auc",
        "test/auc_ge_F2",
        "best/loss",
        "val/loss",
    } <= set(run.data.metrics)
    assert len(run.data.metrics) < 20  # each is a chart
    assert "**Audit" in run.data.tags["mlflow.note.content"]
    assert "| Accuracy | " in run.data.tags["mlflow.note.content"]
    assert len(client(root).get_metric_history(run.info.run_id, "train/loss")) == 2
    assert f"torch {torch.__version__.split('+')[0]}, " in run.data.tags["versions"]
    files = {file.path for file in client(root).list_artifacts(run.info.run_id)}
    assert files >= {
        "config.yaml",
        "split.csv",
        "predictions.csv",
        "metrics.csv",
        "report.html",
        "checkpoints",
    }
    environment = json.loads((folder_of(root, run.info.run_id) / keys.ENVIRONMENT_FILE).read_text())
    assert environment["command"].startswith("python -m fibrolab.train")
    assert environment["packages"]["lightning"]


def test_nothing_is_written_outside_the_root(trained: tuple) -> None:
    root, _ = trained
    assert {path.name for path in root.iterdir()} == {"cache", "mlruns", "outputs"}
    assert not list(root.rglob("*.part"))


def test_the_best_checkpoint_loads_without_running_code(trained: tuple) -> None:
    from fibrolab.modules.classifiers import SingleClassifier

    root, _ = trained
    folder = folder_of(root, runs(root)[0].info.run_id)
    torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    module = SingleClassifier.load_from_checkpoint(folder / "checkpoints" / "best.ckpt", weights_only=True)
    image = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    assert module.eval()({keys.IMAGE: image}).shape == (2, 5)


@pytest.mark.usefixtures("blank_figures")
def test_evaluate_needs_only_a_run_id(trained: tuple) -> None:
    root, _ = trained
    run = runs(root)[0].info.run_id
    before = pd.read_csv(folder_of(root, run) / keys.METRICS_FILE, index_col="metric")
    ended = commanded.command("evaluate", f"run={run}", "bootstrap.resamples=200", f"paths.root={root}")
    assert ended.returncode == 0, ended.stderr
    after = pd.read_csv(folder_of(root, run) / keys.METRICS_FILE, index_col="metric")
    assert after["value"].equals(before["value"])
    assert not after["low"].equals(before["low"])
    assert runs(root)[0].info.status == "FINISHED"


def test_the_same_settings_give_the_same_numbers(trained: tuple, root: Path) -> None:
    workers = "num_workers=2"  # the number of workers changes nothing
    with unreported():
        pipeline.run(composed(*TINY, workers, f"paths.root={root}"))
    first, second = (folder_of(each, runs(each)[0].info.run_id) for each in (trained[0], root))
    for name in (keys.PREDICTIONS_FILE, keys.SPLIT_FILE):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_slurm_job_near_its_end_goes_back_to_the_queue_and_then_goes_on(
    root: Path, tmp_path: Path, fresh_database: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*TINY, "trainer.max_epochs=8", "trainer.requeue=true"]
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/scontrol.txt\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    process = subprocess.Popen(
        program(root, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            break
    process.send_signal(signal.SIGUSR1)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 130, errors
    (run,) = runs(root)
    assert run.info.status == "KILLED"
    assert f"python -m fibrolab.train resume={run.info.run_id}" in errors
    assert (tmp_path / "scontrol.txt").read_text() == "requeue 77\n"
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    again = commanded.command("train", *words, f"paths.root={root}")
    assert again.returncode == 0, again.stderr
    assert f"Run {run.info.run_id} goes on" in again.stdout
    (run,) = runs(root)
    assert (run.info.status, run.data.params["trainer.max_epochs"]) == ("FINISHED", "8")
    curve = client(root).get_metric_history(run.info.run_id, "val/loss")
    assert len({point.step for point in curve}) == 8
    monkeypatch.delenv("SLURM_JOB_ID")
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    (tmp_path / "whole").mkdir()
    whole = prepared(tmp_path / "whole", fresh_database, cache)
    with unreported():
        pipeline.run(composed(*TINY, "trainer.max_epochs=8", f"paths.root={whole}"))
    assert not differences(folder_of(whole, runs(whole)[0].info.run_id), folder_of(root, run.info.run_id))


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_child_processes_and_leaves_no_partial_phantom(times: int, tmp_path: Path) -> None:
    words = ["data.patients=2000", f"folder={tmp_path / 'audit'}"]
    process = subprocess.Popen(
        program(tmp_path, *words, module="audit"), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    images = tmp_path / "cache"
    while not list(images.glob("phantom-image-*.partial/images/*.png")):
        assert process.poll() is None
        time.sleep(0.1)
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.2)
    _, errors = process.communicate(timeout=180)  # waits for the children, which share stderr
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    left = [path.name for path in images.glob("phantom-image-*") if path.suffix != ".lock"]
    assert not [name for name in left if times == 1 or not name.endswith(".partial")]


@pytest.mark.slow
@pytest.mark.timeout(900)  # five processes, and the comparison
def test_a_multirun_is_one_parent_run_with_one_run_per_job(sweep: tuple[Path, str]) -> None:
    root, printed = sweep
    assert printed.count(": finished after ") == 4
    parent, *jobs, comparison = runs(root)
    assert (comparison.info.run_name, comparison.info.status) == ("comparison", "FINISHED")
    logs = root.glob("outputs/*/*-sweep/*/log.txt")
    assert sum(log.read_text().count("report ") for log in logs) == 4
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "single-phantom: lr, loss")
    assert {job.data.tags["mlflow.parentRunId"] for job in jobs} == {parent.info.run_id}
    settings = [{**job.data.params, "name": job.info.run_name} for job in jobs]
    differing = {
        name for name in settings[0] if any(other.get(name) != settings[0][name] for other in settings)
    }
    assert differing == {"name", "optimizer.lr", "loss.name", "loss.label_smoothing"}
    chosen = {(job.data.params["optimizer.lr"], job.data.params["loss.name"]) for job in jobs}
    assert chosen == {(lr, loss) for lr in ("0.001", "0.003") for loss in ("cross_entropy", "focal")}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("quick_children")
def test_folds_as_a_multirun_test_every_sample_once_even_if_one_job_fails(root: Path) -> None:
    words = ["split=kfold", "split.folds=3", "split.fold=7,0,1,2", *TINY, "trainer.max_epochs=1"]
    completed = fibrolab(root, "-m", *words, code=1)
    assert "Fold 7 of 3" in completed.stderr
    parent, failed, *jobs = runs(root)
    assert (parent.info.status, failed.info.status) == ("FAILED", "FAILED")
    assert [job.info.status for job in jobs] == ["FINISHED"] * 3
    frames = [pd.read_csv(folder_of(root, job.info.run_id) / keys.PREDICTIONS_FILE) for job in jobs]
    tested = pd.concat([frame[frame["partition"] == "test"] for frame in frames])
    assert len(tested) == tested["sample_id"].nunique() == 60
    ids = ",".join(job.info.run_id for job in jobs)
    assert f"{{single-phantom: [{ids}], OTHER: [ID]}}" in completed.stdout
    assert [job.info.run_name for job in jobs] == [f"fold={fold} single-phantom" for fold in range(3)]
    assert "split.fold=1" in shlex.split(jobs[1].data.tags["command"])


def test_ctrl_c_ends_the_run_as_killed(root: Path) -> None:
    process = subprocess.Popen(
        program(root, *TINY, "trainer.max_epochs=500"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 2/"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    (run,) = runs(root)
    assert run.info.status == "KILLED"
    assert (folder_of(root, run.info.run_id) / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_sigterm_ends_the_run_as_killed_and_sigkill_is_noticed_by_the_next_run(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = subprocess.Popen(
            program(tmp_path, *TINY, "trainer.max_epochs=500"),
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch 2/"):
                break
        process.send_signal(number)
        process.communicate(timeout=180)
    assert [run.info.status for run in runs(tmp_path)] == ["KILLED", "RUNNING"]
    fibrolab(tmp_path, *TINY)
    assert [run.info.status for run in runs(tmp_path)] == ["KILLED", "KILLED", "FINISHED"]


def test_unreadable_images_are_all_listed_and_the_run_has_failed(damaged_tree: Path, root: Path) -> None:
    words = ["data=kaggle_fibrosis", f"data.root={damaged_tree}", "debug=fast_dev_run"]
    completed = commanded.command("train", *words, f"paths.root={root}")
    assert completed.returncode == 1
    for name in ("F1/f1_04.png", "F2/f2_05.png", "F3/f3_06.png", "data.on_unreadable=skip"):
        assert name in completed.stderr
    assert "Traceback" not in completed.stderr
    assert [run.info.status for run in runs(root)] == ["FAILED"]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_two_trainings_may_start_simultaneously_in_an_empty_folder(tmp_path: Path) -> None:
    both = [
        subprocess.Popen(program(tmp_path, *TINY, f"seed={seed}"), stderr=subprocess.PIPE, text=True)
        for seed in (0, 1)
    ]
    for process in both:
        _, errors = process.communicate(timeout=250)
        assert process.returncode == 0, errors
    assert sorted(run.data.params["seed"] for run in runs(tmp_path)) == ["0", "1"]
    assert {run.info.status for run in runs(tmp_path)} == {"FINISHED"}
