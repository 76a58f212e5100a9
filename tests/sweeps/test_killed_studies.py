"""A study whose sweeper and children are killed at random: the same command ends it, and no trial is lost."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState

TRIALS = int(os.environ.get("FIBROLAB_TRIALS", "6"))  # total of the study
AT_ONCE = 4 if TRIALS >= 20 else 2
LONGEST_WAIT = 40 if TRIALS >= 20 else 10  # [s], less than the study takes
KILLED = ("child", "sweeper", "both")
WORDS = [
    "-m", "sweep=single", f"hydra.sweeper.n_trials={TRIALS}", "hydra.sweeper.study_name=study",
    f"hydra.launcher.n_jobs={AT_ONCE}", "data.patients=60", "data.images_per_patient=1", "data.size=32",
    "trainer.max_epochs=2", "batch_size=16", "trainer.accelerator=cpu", "num_workers=0",
    "bootstrap.resamples=20",
]  # fmt: skip


PATH = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])


def started(root: Path) -> subprocess.Popen[bytes]:
    with (root / "sweep.txt").open("ab") as log:
        command = [sys.executable, "-m", "fibrolab.train", *WORDS, f"paths.root={root}"]
        environment = os.environ | {"PYTHONPATH": PATH}
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=root, env=environment)


def children(pid: int) -> list[int]:
    """Processes that a process started, and those that they started; the deepest last."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    own = [int(word) for word in listed.read_text().split()] if listed.exists() else []
    return own + [below for each in own for below in children(each)]


def kill(process: subprocess.Popen[bytes], what: str) -> bool:
    """Wait until a child runs, and then a random time; kill it, the sweeper, or both, unless all ended."""
    while not children(process.pid) and process.poll() is None:
        time.sleep(0.1)
    time.sleep(random.uniform(0, LONGEST_WAIT))
    if process.poll() is not None:
        return False
    if what in ("child", "both"):
        for pid in children(process.pid)[-1:]:
            os.kill(pid, signal.SIGKILL)
    if what in ("sweeper", "both"):
        process.kill()
        process.wait()
    return True


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_killed_study_goes_on_without_losing_or_repeating_a_trial(root: Path) -> None:
    process = started(root)
    killed = 0
    for what in KILLED:
        if process.poll() is not None:
            process = started(root)
        killed += kill(process, what)
    assert killed >= 2, (root / "sweep.txt").read_text()
    if process.poll() is None:
        process.kill()
        process.wait()
    assert started(root).wait() == 0, (root / "sweep.txt").read_text()

    storage = optuna.storages.RDBStorage(f"sqlite:///{root}/mlruns/optuna.db")
    study = optuna.load_study(study_name="study", storage=storage)
    done = [trial for trial in study.trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len(done) == TRIALS
    assert all(trial.state.is_finished() for trial in study.trials)
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")
    runs = {run.info.run_id: run for run in client.search_runs(["1"])}
    own = {
        run_id: int(run.data.tags["fibrolab.trial"])
        for run_id, run in runs.items()
        if "fibrolab.trial" in run.data.tags and run.info.status == "FINISHED"
    }
    assert {trial.user_attrs["run"]: trial.number for trial in done} == own  # one finished run each
    values = [trial.value for trial in done if trial.state == TrialState.COMPLETE]
    assert study.best_value == min(values)
    tested = [run for run in runs.values() if "fibrolab.chosen_trial" in run.data.tags]
    finished = [run for run in tested if run.info.status == "FINISHED"]
    assert [int(run.data.tags["fibrolab.chosen_trial"]) for run in finished] == [study.best_trial.number]
    for run_id in own:
        folder = root / "mlruns" / "artifacts" / run_id / "artifacts"
        assert not (folder / "report.html").exists()
