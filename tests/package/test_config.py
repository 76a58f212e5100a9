"""The command line: help, refusals, composed configs, signals and faults of a job."""

import gc
import importlib
import logging
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from compose import composed, configs, names
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError

from fibrolab import __main__, train
from fibrolab import config as start
from fibrolab.command_line import flat
from fibrolab.config import INTERRUPTED, check, folder, run
from fibrolab.errors import ConfigError, StorageError

ROOT = Path(__file__).parents[2]
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def command(*words: str, program: tuple[str, ...] = ("-m", "fibrolab")) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, *program, *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Return a function that runs `train` in this process until it exits, and returns its message."""
    handlers, raises = {kind: signal.getsignal(kind) for kind in SIGNALS}, logging.raiseExceptions
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    for name in ("disable", "freeze"):  # they save time at the end of a process only
        monkeypatch.setattr(gc, name, lambda: None)

    def refusal(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["train", *words, f"paths.root={tmp_path}"])
        with pytest.raises(SystemExit) as ended:
            train.main()
        return str(ended.value.code)

    yield refusal
    for kind, handler in handlers.items():
        signal.signal(kind, handler)
    logging.raiseExceptions = raises


def test_help_lists_the_commands() -> None:
    completed = command("--help")
    assert completed.returncode == 0
    roots = {path.stem for path in folder().glob("*.yaml")}
    shown = {line.split()[0] for line in completed.stdout.splitlines() if line.startswith("  ")}
    assert roots == shown
    for name in roots:
        importlib.import_module(f"fibrolab.{name}")  # a root config is a command


def test_help_of_a_command_shows_its_settings_and_groups() -> None:
    completed = command("train", "--help", "seed=0")
    assert completed.returncode == 0
    for word in (
        f"model: {', '.join(names('model'))}\n",
        "split: by_site,",
        "-m model=single,hybrid",
        "folds: null",
    ):
        assert word in completed.stdout


@pytest.mark.parametrize("name", sorted(path.stem for path in folder().glob("*.yaml")))
def test_help_names_no_setting_that_the_command_refuses(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "-h"])
    monkeypatch.setattr(gc, "disable", lambda: None)
    start.command(name, lambda _: print)
    shown = capsys.readouterr().out
    assert f"python -m fibrolab.{name}" in shown
    listed = set(re.findall(r"^(\w+)[:/]", shown, re.MULTILINE))
    settings = {str(key) for key in composed(name=name)}
    assert settings <= listed
    if name != "train":  # its groups include the parts of a model, chosen by their place
        assert listed <= settings | {"data"}  # of `evaluate`, where none is the default


def test_both_forms_of_a_command_are_equivalent() -> None:
    words = ("--cfg", "job", "model=hybrid")
    short, long = command("train", *words), command(*words, program=("-m", "fibrolab.train"))
    assert (short.returncode, short.stdout, short.stderr) == (long.returncode, long.stdout, long.stderr)
    assert OmegaConf.create(short.stdout).model.branches.b.name == "vgg16"


def test_the_console_script_runs_the_main_function() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["fibrolab"].partition(":")
    assert getattr(importlib.import_module(module), name) is __main__.main


def test_a_multirun_and_flags_of_hydra_pass_through_the_program(tmp_path: Path) -> None:
    words = ("auc=0.85,0.9", "against=0.75", "prevalence=0.4", f"hydra.sweep.dir={tmp_path}")
    completed = command("plan", "-m", *words)
    assert completed.returncode == 0, completed.stderr
    for question in ("AUC 0.85 above 0.75", "AUC 0.9 above 0.75"):
        assert question in completed.stdout


def test_a_misspelt_command_or_setting_ends_a_process_with_a_sentence() -> None:
    for words, sentence in (
        (
            ["trian"],
            "there is no 'trian'. It is one of: audit, compare, evaluate, explain, export, markers, monitor, "
            "plan, predict, register, serve, stack, study, sync, train.",
        ),
        (["trian"], "Did you mean train?"),
        (["train", "modl=hybrid"], "'modl' is not a setting. Did you mean 'model'?"),
    ):
        completed = command(*words)
        assert (completed.returncode, completed.stdout) == (1, "")
        assert sentence in completed.stderr
        assert "Traceback" not in completed.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["modl=hybrid"], "'modl' is not a setting. Did you mean 'model'?"),
        (["optimizer.lrr=1"], "'optimizer.lrr' is not a setting. Did you mean 'optimizer.lr'?"),
        (
            ["model=hybird"],
            "model=hybird does not exist. Did you mean 'hybrid'? model is one of: "
            f"{', '.join(names('model'))}.",
        ),
        (["experiment=paper1/hybrd"], "experiment/paper1=hybrd does not exist. Did you mean 'hybrid'?"),
        (["data=folder"], "data.root must be given, such as data.root=VALUE."),
        (["data.on_unreadable=skip"], "'data.on_unreadable' is not a setting of the chosen configs."),
        (["seed=abc"], "seed=abc is not a number, such as 0."),
        (["seed=-1"], "seed=-1 is not a whole number from 0 to 4294967295."),
        (["loss=null"], "GROUP=null leaves out a required group"),
        (["compile=maybe"], "compile=maybe is neither true nor false."),
        (["model.branches=null", "batch_size=x"], "model.branches=null is not a group of settings."),
        (["trainer.accelerator=null"], "trainer.accelerator=null is not text."),
        (["task.merge=5"], "task.merge=5 is not a list, such as [0, 1, 2, 3, 4]."),
        (["loss.class_weights=[1]"], "loss.class_weights=[1] is not text."),
        (["experiment=paper1"], "experiment is one of: paper1/hybrid"),
        (["audit.strict=yess"], "audit.strict=yess is neither true nor false."),
        (["trainer.max_epochs"], "trainer.max_epochs"),
        (["--cfg", "jbo"], "jbo"),
    ],
)
def test_a_mistake_of_the_user_is_refused_with_a_sentence(
    words: list[str], sentence: str, in_process: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = in_process(*words)
    assert code not in ("None", "0")
    assert sentence in code + capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "place", "setting"),
    [
        (["paths.root=/user"], "/user/cache/pixels/x", "paths.cache"),
        (["paths.root=/user"], "/user", "paths.root"),
        (["paths.root=/user/far/away"], "/user/far", "paths.root"),
        (["paths.root=/user", "data=kaggle_fibrosis", "data.root=/scans"], "/scans/F0/a.png", "data.root"),
    ],
)
def test_a_file_that_cannot_be_opened_is_reported_with_its_setting(
    given: list[str], place: str, setting: str
) -> None:
    def job(_: object) -> None:
        raise PermissionError(13, "Permission denied", place)

    with pytest.raises(
        StorageError, match=rf"^{place} cannot be created .*Permission denied\); see {setting}$"
    ):
        run(job, composed(*given))


@pytest.mark.parametrize("place", [None, "/in/no/setting", str(folder() / "train.yml"), 7])
def test_a_missing_file_that_no_setting_names_is_a_fault_of_the_code(place: str | None) -> None:
    def job(_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", place)

    with pytest.raises(FileNotFoundError):
        run(job, composed("paths.root=/user"))


def started(code: str, root: Path) -> tuple[subprocess.Popen[str], IO[str]]:
    """Run Python code as the job of a command in a new process."""
    text = f"from fibrolab.config import command\ndef job(config):\n{code}\ncommand('plan', lambda _: job)"
    process = subprocess.Popen(
        [sys.executable, "-c", text, "auc=0.9"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    return process, process.stdout


def test_a_current_folder_that_was_deleted_is_named(tmp_path: Path) -> None:
    code = (
        "import os, runpy, sys; os.rmdir(os.getcwd()); sys.argv = ['audit']; "
        "runpy.run_module('fibrolab.audit', run_name='__main__')"
    )
    here = tmp_path / "here"
    here.mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=here,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (
        1, "error: the current folder was deleted; change to one that exists\n"
    )  # fmt: skip


def test_a_fault_of_the_code_keeps_its_traceback(tmp_path: Path) -> None:
    process, _ = started("    open('/in/no/setting')", tmp_path)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 1
    assert "Traceback" in errors
    assert "No such file or directory: '/in/no/setting'" in errors


@pytest.mark.parametrize(("first", "second"), [SIGNALS, SIGNALS[::-1]])
def test_a_second_signal_ends_a_command_that_hangs_while_it_stops(
    first: int, second: int, tmp_path: Path
) -> None:
    code = """
    import time
    try:
        print('at work', flush=True)
        time.sleep(600)
    finally:
        print('uploading', flush=True)
        time.sleep(600)"""
    process, output = started(code, tmp_path)
    for line, number in (("at work\n", first), ("uploading\n", second)):
        assert output.readline() == line
        process.send_signal(number)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == INTERRUPTED
    assert errors == "interrupted again; ended immediately\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: [hinge", r"hinge.yaml, line \d, is not valid YAML: expected ',' or '\]'"),
        ("name: a\nname: b", "hinge.yaml, line 2, is not valid YAML: found duplicate key name"),
        (
            "_target_: collections.Counter",
            "loss.name is missing: give that of a loss, or beside loss._target_ any",
        ),
    ],
)
def test_a_faulty_file_of_the_users_own_settings_is_named(
    text: str, sentence: str, tmp_path: Path, in_process: Callable[..., str]
) -> None:
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "hinge.yaml").write_text(text)
    assert re.search(sentence, in_process("--config-dir", str(tmp_path), "loss=hinge"))


def test_configs_refuse_settings_that_do_not_exist() -> None:
    with pytest.raises(ConfigAttributeError):
        composed().optimizer.momentun = 0.9


def test_backbones_are_replaced_and_added_by_override() -> None:
    config = composed(
        "model=hybrid", "backbone@model.branches.b=densenet121", "+backbone@model.branches.c=resnet18"
    )
    assert [branch.name for branch in config.model.branches.values()] == [
        "resnet50",
        "densenet121",
        "resnet18",
    ]


def test_only_paper_1_validates_on_its_test_set() -> None:
    for split in names("split"):
        config = composed(f"split={split}", *(["split.path=x"] if split == "saved" else []))
        assert ("val_is_test" in config.split) == (split == "paper1_random")


@pytest.mark.parametrize("arm", names("experiment"))
def test_the_split_of_an_experiment_can_be_replaced_completely(arm: str) -> None:
    split = composed(f"experiment={arm}", "split=folds_in_training").split
    assert split == composed("split=folds_in_training").split
    assert split.grouped


def test_all_paths_come_from_the_group_paths() -> None:
    config = composed("paths.root=/elsewhere", "data=kaggle_fibrosis", "data.root=/data")
    text = OmegaConf.to_yaml(config, resolve=True)
    for name in ("cache", "mlruns", "output"):
        assert config.paths[name] == f"/elsewhere/{name.replace('output', 'outputs')}"
    assert "sqlite:////elsewhere/mlruns/mlflow.db" in text


def test_settings_are_flattened_to_the_names_of_the_command_line() -> None:
    assert flat({"a": {"b": {"c": 1}}, "d": [1, 2], "e": {}}) == {"a.b.c": 1, "d": [1, 2], "e": {}}


def test_the_configs_are_found() -> None:
    assert (folder() / "train.yaml").is_file()
    assert folder() == Path(__file__).parents[2] / "conf"


def faults_of(config: DictConfig) -> str:
    """Return the sentence by which settings are refused; empty if they are allowed."""
    try:
        check(config)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", names("experiment"))
def test_experiments_have_values_that_are_allowed(name: str) -> None:
    with configs():
        config = compose("train", [f"experiment={name}", "++data.root=DIR"], return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    try:
        with open_dict(config):
            del config["hydra"]
        for place in OmegaConf.missing_keys(config):
            OmegaConf.update(config, place, "patients.csv")
        assert faults_of(config) == ""
    finally:
        HydraConfig.instance().cfg = None


@pytest.mark.parametrize(
    ("words", "name", "rate"),
    [
        (["model=single"], "AdamW", 3e-3),
        (["model=hybrid"], "Adam", 1e-4),
        (["model=hybrid", "optimizer=sgd"], "SGD", 1e-2),
    ],
)
def test_a_model_may_choose_its_optimizer_unless_the_user_does(
    words: list[str], name: str, rate: float
) -> None:
    chosen = composed(*words).optimizer
    assert (chosen.name, chosen.lr) == (name, rate)
