"""What the command line answers before anything slow is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest
from compose import composed, names
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError

from fibrolab.config import VERSION_BASE, _check_kinds, flat, folder


def command(*words: str, module: str = "train") -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", f"fibrolab.{module}", *words]
    return subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)


def test_help_names_the_groups_and_shows_commands() -> None:
    answer = command("--help")
    assert answer.returncode == 0
    for word in ("model: hybrid, multimodal, single, video", "split:", "--cfg job", "-m model=single,hybrid"):
        assert word in answer.stdout


def test_cfg_job_prints_every_setting() -> None:
    answer = command("--cfg", "job", "model=hybrid")
    assert answer.returncode == 0
    assert OmegaConf.create(answer.stdout).model.branches.b.name == "vgg16"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["modl=hybrid"], "'modl' is not a setting. Did you mean 'model'?"),
        (["optimizer.lrr=1"], "'optimizer.lrr' is not a setting. Did you mean 'optimizer.lr'?"),
        (
            ["model=hybird"],
            "model=hybird does not exist. Did you mean 'hybrid'? model is one of: hybrid, "
            "multimodal, single, video.",
        ),
        (["experiment=paper1/hybrd"], "experiment/paper1=hybrd does not exist. Did you mean 'hybrid'?"),
        (["data=kaggle_fibrosis"], "data.root must be given, such as data.root=VALUE."),
        (["data.on_unreadable=skip"], "'data.on_unreadable' is no setting of what was chosen here."),
        (["seed=abc"], "seed=abc is not a number, such as 0."),
        (["seed=-1"], "seed=-1 is not a whole number from 0."),
        (["loss=null"], "GROUP=null leaves out what is needed"),
        (["compile=maybe"], "compile=maybe is neither true nor false."),
        (["model.branches=null", "batch_size=x"], "model.branches=null is not a group of settings."),
        (["trainer.accelerator=null"], "trainer.accelerator=null is not a word."),
        (["task.merge=5"], "task.merge=5 is not a list, such as [0, 1, 2, 3, 4]."),
        (["loss.class_weights=[1]"], "loss.class_weights=[1] is not a word."),
        (["experiment=paper1"], "experiment is one of: paper1/hybrid"),
        (["audit.strict=yess"], "audit.strict=yess is neither true nor false."),
        (["trainer.max_epochs"], "trainer.max_epochs"),
        (["--cfg", "jbo"], "jbo"),
    ],
)
def test_a_slip_of_the_user_is_answered_with_a_sentence(words: list[str], sentence: str) -> None:
    answer = command(*words)
    assert answer.returncode != 0
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr


def test_configs_refuse_settings_that_do_not_exist() -> None:
    with pytest.raises(ConfigAttributeError):
        composed().optimizer.momentun = 0.9


def test_any_two_backbones_or_more_take_their_place_by_override() -> None:
    config = composed(
        "model=hybrid", "backbone@model.branches.b=densenet121", "+backbone@model.branches.c=resnet18"
    )
    assert [branch.name for branch in config.model.branches.values()] == [
        "resnet50",
        "densenet121",
        "resnet18",
    ]


def test_only_paper_1_validates_on_its_test_part() -> None:
    for split in names("split"):
        config = composed(f"split={split}", *(["split.path=x"] if split == "saved" else []))
        assert ("val_is_test" in config.split) == (split == "paper1_random")


@pytest.mark.parametrize("arm", names("experiment"))
def test_an_arm_of_a_paper_runs_by_one_word_on_another_split_as_that_is(arm: str) -> None:
    split = composed(f"experiment={arm}", "split=folds_in_training").split
    assert split == composed("split=folds_in_training").split
    assert split.grouped


def test_all_paths_come_from_one_place() -> None:
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


@pytest.mark.parametrize("name", names("experiment"))
def test_what_ships_is_of_the_kinds_that_it_shows(name: str) -> None:
    with initialize_config_dir(str(folder()), version_base=VERSION_BASE):
        config = compose("train", [f"experiment={name}", "data.root=DIR"], return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    try:
        _check_kinds(config)
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
