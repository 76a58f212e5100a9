"""A multirun as one run with its jobs as children: resumed, compared, refused. No job is trained here."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from compose import configs
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from omegaconf import DictConfig, open_dict

from fibrolab.errors import ConfigError, TrainingError
from fibrolab.sweeps import launching, multirun, this_job
from fibrolab.sweeps.jobs import Job, Result
from fibrolab.tracked_run import PARENT
from fibrolab.tracking import SWEEP, track


class Sweeps:
    """A `paths.root` with multiruns, whose jobs open a run and end as `ends` says."""

    def __init__(self, root: Path, place: dict[str, str]) -> None:
        self.root, self.place = root, place
        self.ends: dict[int, str] = {}
        self.ran: list[Job] = []
        self.compared: list[Sequence[str]] = []

    def launch(self, *jobs: str, shared: str = "") -> list[Result]:
        """Launch a multirun, given the overrides of each job."""
        lists = [[*shared.split(), f"paths.root={self.root}", *job.split()] for job in jobs]
        words = [*shared.split(), f"paths.root={self.root}", "hydra.launcher.gpus_per_job=0"]
        words.append(f"hydra.sweep.dir={self.root / 'sweeps' / str(len(self.ran))}")
        return multirun.launch(self.compose(words), lambda job: self.compose([*words, *job]), lists)

    def compose(self, words: Sequence[str]) -> DictConfig:
        with configs():
            config = compose("train", list(words), return_hydra_config=True)
        with open_dict(config):
            config.hydra.runtime.output_dir = str(self.root)
        return config

    def run(self, jobs: Iterable[Job], settings: launching.Launching) -> Iterator[tuple[Job, Result]]:
        """Stand for `launching.run`."""
        for job in jobs:
            self.ran.append(job)
            end = self.ends.get(job.number, "finished")
            tags = {this_job.JOB: job.number, this_job.ARM: "-".join(job.own) or "all"}
            try:
                with track(**self.place, name=f"job {job.number}", tags=tags, parent=job.parent) as run:
                    if end != "before":
                        run.tag({multirun.RECORDED: "torch 2"})
                    if end != "finished":
                        raise TrainingError("The loss is not finite.")
                yield job, Result("finished", run.id, 0.5)
            except TrainingError as error:
                yield job, Result("failed", run.id, error=str(error))

    def runs(self) -> list[Run]:
        client = MlflowClient(tracking_uri=self.place["uri"])
        named = client.get_experiment_by_name(self.place["experiment"])
        return client.search_runs([named.experiment_id], order_by=["attributes.start_time ASC"])

    @property
    def parent(self) -> Run:
        (found,) = [run for run in self.runs() if SWEEP in run.data.tags]
        return found


@pytest.fixture
def sweeps(tmp_path: Path, place: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweeps]:
    made = Sweeps(tmp_path, place)

    class Done:
        returncode, stderr = 0, ""

    def compare(words: Sequence[str], **_: Any) -> type[Done]:
        made.compared.append(words)
        return Done

    monkeypatch.setattr(launching, "run", made.run)
    monkeypatch.setattr(multirun.subprocess, "run", compare)
    before = HydraConfig.instance().cfg
    yield made
    HydraConfig.instance().cfg = before


def test_the_jobs_are_children_of_one_run_that_names_what_varies(sweeps: Sweeps) -> None:
    results = sweeps.launch("seed=0", "seed=1", shared="split.seed=0")
    assert [result.value for result in results] == [0.5, 0.5]
    parent, *jobs = sweeps.runs()
    assert (parent.info.run_name, parent.info.status) == ("single-phantom: seed", "FINISHED")
    assert {run.data.tags[PARENT] for run in jobs} == {parent.info.run_id}
    assert [job.own for job in sweeps.ran] == [("seed=0",), ("seed=1",)]
    files = Path(parent.info.artifact_uri.removeprefix("file://"))
    kept = json.loads((files / multirun.JOBS_FILE).read_text())["jobs"]
    assert [job["overrides"] for job in kept] == [list(job.overrides) for job in sweeps.ran]


def test_a_failed_job_fails_the_sweep_and_not_the_others(sweeps: Sweeps) -> None:
    sweeps.ends = {0: "failed"}
    with pytest.raises(TrainingError, match=r"1 of 2 jobs did not finish:\n.*#0 seed=0: failed. The loss"):
        sweeps.launch("seed=0", "seed=1")
    assert [run.info.status for run in sweeps.runs()] == ["FAILED", "FAILED", "FINISHED"]


def test_a_resumed_sweep_runs_what_is_missing_and_resumes_what_was_begun(
    sweeps: Sweeps, capsys: pytest.CaptureFixture[str]
) -> None:
    sweeps.ends = {1: "failed", 2: "before"}
    with pytest.raises(TrainingError):
        sweeps.launch("seed=0", "seed=1", "seed=2")
    parent, _, begun, _ = sweeps.runs()
    (again,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("resume ")]
    launcher = "hydra.launcher.gpus_per_job=0"  # without it, jobs of Slurm would go on as local ones
    assert again.endswith(
        f"python -m fibrolab.train -m resume={parent.info.run_id} {launcher} paths.root={sweeps.root}"
    )
    sweeps.ran, sweeps.ends = [], {}
    sweeps.launch(f"resume={parent.info.run_id}")
    assert [(job.number, job.own, job.overrides[-1]) for job in sweeps.ran] == [
        (1, ("seed=1",), f"resume={begun.info.run_id}"),
        (2, ("seed=2",), f"paths.root={sweeps.root}"),
    ]
    assert sweeps.parent.info.status == "FINISHED"
    with pytest.raises(ConfigError, match=r"All jobs of the sweep .* have finished"):
        sweeps.launch(f"resume={parent.info.run_id}")


def test_a_resumed_sweep_takes_no_other_settings(sweeps: Sweeps) -> None:
    sweeps.ends = {0: "failed"}
    with pytest.raises(TrainingError):
        sweeps.launch("seed=0", "seed=1")
    with pytest.raises(ConfigError, match=r"with seed=3: a resumed sweep keeps its jobs"):
        sweeps.launch(f"resume={sweeps.parent.info.run_id} seed=3")
    with pytest.raises(ConfigError, match="with resume=123abc: a resumed sweep"):
        sweeps.launch(f"resume={sweeps.parent.info.run_id}", "resume=123abc")


def test_a_single_run_is_not_resumed_as_a_sweep(sweeps: Sweeps) -> None:
    with pytest.raises(ZeroDivisionError), track(**sweeps.place, name="one", tags={}) as run:
        raise ZeroDivisionError
    with pytest.raises(ConfigError, match=f"Run {run.id} is no sweep: resume it without -m"):
        sweeps.launch(f"resume={run.id}")


def test_two_arms_are_compared_at_the_end_and_one_is_not(sweeps: Sweeps) -> None:
    sweeps.launch("loss=focal", "loss=cross_entropy", shared="bootstrap.resamples=50")
    ((_, *words),) = sweeps.compared
    ids = ",".join(run.info.run_id for run in sweeps.runs()[1:])
    assert words[:3] == ["-m", "fibrolab.compare", f"runs=[{ids}]"]
    assert words[-1] == "bootstrap.resamples=50"
    sweeps.compared.clear()
    sweeps.launch("split.fold=0 split=kfold", shared="split.fold=0 split=kfold")
    assert not sweeps.compared


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("defaults:\n  - override /hydra/launcher: mine\n", "hydra/launcher=mine"),
        ("hydra:\n  launcher:\n    n_jobs: 3\n", "hydra.launcher.n_jobs=3"),
    ],
)
def test_a_launcher_of_one_of_several_experiments_is_refused(
    sweeps: Sweeps, tmp_path: Path, content: str, words: str
) -> None:
    for group in ("experiment", "hydra/launcher"):
        (tmp_path / group).mkdir(parents=True)
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{content}")
    (tmp_path / "hydra" / "launcher" / "mine.yaml").write_text(
        "n_jobs: 1\ngpus_per_job: 0\njob_timeout: null\n"
    )
    path = f"hydra.searchpath=[file://{tmp_path}]"
    with pytest.raises(ConfigError, match=rf"experiment=mine chooses {words}.*put it on the command line"):
        sweeps.launch("experiment=paper1/resnet50", "experiment=mine", shared=path)
    assert not sweeps.ran


def test_a_sweep_over_experiments_compares_and_resumes_jobs_of_other_experiments_in_mlflow(
    sweeps: Sweeps,
) -> None:
    sweeps.ends = {2: "failed"}
    experiments = ["experiment=paper1/resnet50", "experiment=paper1/hybrid", "experiment=paper2/resnet50"]
    with pytest.raises(TrainingError):
        sweeps.launch(*experiments)  # the first names the experiment of the sweep's own run, `paper1`
    assert [job.own for job in sweeps.ran] == [(word,) for word in experiments]
    assert len(sweeps.compared) == 1
    (parent,) = {job.parent for job in sweeps.ran}
    sweeps.ran, sweeps.ends = [], {}
    sweeps.launch(f"resume={parent}", shared="tracking.experiment=paper1")
    assert [job.number for job in sweeps.ran] == [2]


def test_an_experiment_chooses_the_launcher_of_its_own_sweep(sweeps: Sweeps, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    content = "# @package _global_\ndefaults:\n  - override /hydra/launcher: basic\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(content)
    config = sweeps.compose([f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine"])
    assert config.hydra.runtime.choices["hydra/launcher"] == "basic"
    assert sweeps.compose([]).hydra.runtime.choices["hydra/launcher"] == "fibrolab"


def test_the_command_that_resumes_a_sweep_names_the_launcher_of_its_experiment(
    sweeps: Sweeps, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experiment").mkdir()
    content = "# @package _global_\ndefaults:\n  - override /hydra/launcher: slurm\n"
    (tmp_path / "experiment" / "mine.yaml").write_text(content)
    sweeps.launch("seed=0", "seed=1", shared=f"hydra.searchpath=[file://{tmp_path}] experiment=mine")
    (again,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("resume ")]
    assert f"-m resume={sweeps.parent.info.run_id} hydra/launcher=slurm hydra.launcher.gpus" in again


def test_a_sweep_among_ranks_of_a_launcher_is_refused(
    sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multirun.devices, "place", lambda: multirun.devices.Place(size=2))
    with pytest.raises(ConfigError, match="torchrun and srun start ranks of one training"):
        sweeps.launch("seed=0", "seed=1")
