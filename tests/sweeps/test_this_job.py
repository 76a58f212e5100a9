"""Jobs of a sweep: their names, their own commands, and the command that compares them."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from compose import configs
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from fibrolab import cross_validation, environment
from fibrolab.errors import ConfigError, TrainingError
from fibrolab.pipeline import Trained
from fibrolab.sweeps import jobs, this_job

Job = Callable[..., None]


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """Return a function that makes this process a job of a sweep, given command line and job overrides."""

    def begin(typed: str, *overrides: str) -> None:
        with configs():
            config = compose("train", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        words = this_job.as_typed(overrides)
        own = this_job.own_overrides(words, this_job.as_typed(shlex.split(typed)))
        written = jobs.write(jobs.Job(0, tuple(words), own, tmp_path, "parent"))
        monkeypatch.setenv(jobs.VARIABLE, str(written))

    before = HydraConfig.instance().cfg
    yield begin
    HydraConfig.instance().cfg = before


def own() -> tuple[str, ...]:
    job = jobs.current()
    assert job is not None
    return job.own


def runs_of(line: str) -> dict | list:
    """The setting `runs` of a command, as Hydra reads it from a shell's words."""
    (override,) = (word for word in shlex.split(line) if word.startswith("runs="))
    return OverridesParser.create().parse_override(override).value()


def test_a_job_is_named_after_varied_settings_that_its_name_does_not_contain(job: Job) -> None:
    shared = "data=table data.path=a.csv 'data.classes=[F0, F1]' "
    fixed = ("data=table", "data.path=a.csv", "data.classes=[F0,F1]")  # as Hydra rewrites it
    job(shared + "model=single,hybrid seed=0,1", *fixed, "model=hybrid", "seed=1")
    assert this_job.run_name("hybrid-table") == "seed=1 hybrid-table"
    assert this_job.sweep_name("hybrid-table", [own()]) == "sweep: model, seed"
    assert this_job.arm("hybrid-table") == "hybrid"


def test_labels_use_the_last_part_of_settings_and_the_names_of_choices(job: Job) -> None:
    swept = ("backbone@model.branches.image=densenet121", "optimizer.lr=0.01", "+trainer.max_steps=5")
    job("split=kfold split.fold=1", "split=kfold", *swept, "split.fold=1")
    assert this_job.run_name("single-phantom") == "densenet121 lr=0.01 max_steps=5 single-phantom"
    assert this_job.sweep_name("single-phantom", [own()]) == "single-phantom: backbone, lr, max_steps"
    assert this_job.arm("single-phantom") == "densenet121-lr-0.01-max_steps-5"


def test_an_argument_of_the_trainer_is_shown_as_it_was_typed(job: Job) -> None:
    job("++trainer.max_epochs=3 seed=0,1", "++trainer.max_epochs=3", "seed=1")
    assert this_job.overrides() == ["trainer.max_epochs=3", "seed=1"]
    assert this_job.run_name("single-phantom") == "seed=1 single-phantom"


def test_seeds_and_folds_belong_to_one_arm(job: Job) -> None:
    arms: dict[str, list[str]] = {}
    for number, (model, seed) in enumerate((m, s) for m in ("single", "hybrid") for s in (0, 1)):
        job("model=single,hybrid seed=0,1", f"model={model}", f"seed={seed}")
        arms.setdefault(this_job.arm(f"{model}-phantom"), []).append(f"id{number}")
    assert arms == {"single": ["id0", "id1"], "hybrid": ["id2", "id3"]}
    assert runs_of(this_job.comparison_command(arms)) == arms


def test_a_sweep_over_folds_only_needs_another_arm_of_the_user(job: Job) -> None:
    job("split=kfold split.fold=0,1", "split=kfold", "split.fold=0")
    assert this_job.arm("single-phantom") == "single-phantom"
    command = this_job.comparison_command({"single-phantom": ["id0", "id1"]})
    assert runs_of(command) == {"single-phantom": ["id0", "id1"], "OTHER": ["ID"]}


def test_the_command_of_a_job_is_its_own(job: Job) -> None:
    job("model=single,hybrid seed=0,1", "model=hybrid", "seed=1")
    assert environment.describe()["command"].endswith(" model=hybrid seed=1")
    assert " -m model" not in environment.describe()["command"]


def test_a_single_run_keeps_its_name_and_is_compared_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "seed=1", "paths.root=a b"])
    assert this_job.run_name("single-phantom") == "single-phantom"
    assert (this_job.parent(), this_job.tags("single-phantom")) == ("", {})
    line = this_job.comparison_command({"": ["0123abcd"]})
    assert runs_of(line) == ["0123abcd", "OTHER"]
    assert shlex.split(line)[1:3] == ["-m", "fibrolab.compare"]
    assert shlex.split(line)[-1] == "paths.root=a b"


def test_the_result_of_a_job_has_its_run_even_if_it_is_killed(job: Job) -> None:
    job("seed=0,1", "seed=1")
    this_job.begin("0123abcd")
    begun = jobs.current()
    assert begun is not None
    assert jobs.left_in(begun.folder) == jobs.Result("killed", "0123abcd")
    this_job.fail(ConfigError("seed=1 is odd.\nIt is."))
    assert jobs.left_in(begun.folder) == jobs.Result("failed", "0123abcd", error="seed=1 is odd.")


@pytest.mark.parametrize(("pruned", "state"), [(False, "finished"), (True, "pruned")])
def test_a_job_reports_how_its_training_ended(
    pruned: bool, state: str, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job("seed=0,1", "seed=1")
    trained = Trained("0123abcd", 0.5, {"val/loss": 0.5}, tmp_path, pruned)
    monkeypatch.setattr(cross_validation, "train", lambda _: trained)
    assert cross_validation.run(OmegaConf.create()) == 0.5
    found = jobs.current()
    assert found is not None
    assert jobs.left_in(found.folder) == jobs.Result(state, "0123abcd", 0.5, {"val/loss": 0.5})


def test_a_job_without_memory_says_so_also_where_a_sentence_hides_it(job: Job) -> None:
    job("seed=0,1", "seed=1")
    begun = jobs.current()
    assert begun is not None
    error = TrainingError("The memory of the GPU is full.")
    error.__cause__ = RuntimeError("CUDA out of memory. Tried to allocate 2 GiB.")
    for each in (error, MemoryError()):
        this_job.fail(each)
        result = jobs.left_in(begun.folder)
        assert result is not None
        assert result.state == "out of memory"
    this_job.fail(TrainingError("Rank 1 was ended by signal 9 (SIGKILL)."))
    result = jobs.left_in(begun.folder)
    assert result is not None
    assert result.state == "killed"
    this_job.fail(ValueError("a fault"))
    assert jobs.left_in(begun.folder) == jobs.Result("failed", error="ValueError: a fault")
