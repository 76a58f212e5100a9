"""Bad settings are refused with a sentence before the first file of data is read, or they are legal."""

import functools
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from compose import composed, configs
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from small_clinic import clinic

from fibrolab import allowed, config, loading
from fibrolab.command_line import flat
from fibrolab.config import resolved
from fibrolab.errors import FibrolabError
from fibrolab.models.backbones import NATIVE, POOLINGS, SCALINGS
from fibrolab.models.heads import ACTIVATIONS
from fibrolab.modules.base import Classifier
from fibrolab.training import building, checks, fitting

BAD: tuple[Any, ...] = (
    "", "unknown_word", "x" * 300, "${nothing}", -1, 0.5, 10**12, 1e300, float("nan"), float("inf"), True,
    None, [], [1], [{"a": 1}], {"a": 1},
)  # fmt: skip
SMALL = ["preprocess.size=32", "trainer.accelerator=cpu", "loss.class_weights=none"]
VARIANTS = (
    [],
    ["model=hybrid", "backbone@model.branches.a=tiny", "backbone@model.branches.b=tiny", "loss=focal",
     "scheduler=plateau", "optimizer=sgd", "averaging=ema", "sampler=fill_up", "split=kfold", "loggers=csv"],
    ["model=multimodal", "data=phantom_swe", "+clinical@model.branches.clinical=lsm", "scheduler=step",
     "fusion@model.fusion=gated", "averaging=swa", "loss=soft_ordinal", "head@model.head=paper4",
     "split=folds_in_training"],
    ["model=video", "data=phantom_clips", "scheduler=exponential", "segment=window", "split=by_site",
     "split.site=south"],
    ["data=table", "data.path=README.md", "task=ge_F2", "loss=binary"],
    ["data=folder", "data.root=.", "task=nominal", "split=paper1_random"],
)  # fmt: skip
DRAWS = 50  # of each variant


@functools.cache
def whole(*words: str) -> DictConfig:
    with configs():
        return compose("train", list(words), return_hydra_config=True)


@pytest.fixture
def chosen() -> Iterator[Any]:
    """Return a function that composes the settings of `train` as the command does."""

    def chosen(*groups: str, single: Sequence[str] = ()) -> DictConfig:
        """Compose groups; then change single settings, which is faster than to compose them too."""
        composed = whole(*groups)
        HydraConfig.instance().set_config(composed)
        settings = OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"])
        OmegaConf.set_struct(settings, False)
        for word in single:
            override = OverridesParser.create().parse_override(word)
            OmegaConf.update(settings, override.key_or_group, override.value(), merge=False)
        return settings

    yield chosen
    HydraConfig.instance().cfg = None


@contextmanager
def changed(settings: DictConfig, name: str, value: Any) -> Iterator[None]:
    before = flat(OmegaConf.to_container(settings))[name]
    OmegaConf.update(settings, name, value, merge=False)
    yield
    OmegaConf.update(settings, name, before, merge=False)


def refused(settings: DictConfig) -> str:
    """Return the sentence with which the command refuses settings; empty if it would read data."""
    try:
        config.check(settings)
        checks.check(settings)
    except FibrolabError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("words", VARIANTS, ids=lambda words: words[0] if words else "default")
def test_a_bad_value_of_any_setting_is_refused_or_legal_without_reading_data(
    words: list[str], chosen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("data is read")

    for name in ("surveyed", "_called"):
        monkeypatch.setattr(loading, name, read)
    settings = chosen(*words, *[word for word in SMALL if "class_weights" not in word])
    assert refused(settings) == ""
    cases = [(name, bad) for name in flat(OmegaConf.to_container(settings)) for bad in BAD]
    for name, bad in random.Random(0).sample(cases, DRAWS):
        with changed(settings, name, bad):
            sentence = refused(settings)  # any other error fails the test
        assert sentence or bad not in ("${nothing}", [{"a": 1}]), f"{name}={bad} was accepted"
        assert "Traceback" not in sentence


@pytest.mark.parametrize("words", VARIANTS[:4], ids=lambda words: words[0] if words else "default")
def test_numbers_that_are_accepted_build_the_network_and_its_optimizer(
    words: list[str], chosen: Any, tmp_path: Path
) -> None:
    """Nothing is refused only after the data have been read."""
    everyone = range(12)
    data = clinic(tmp_path, everyone, everyone, lsm_kpa=[str(k + 1) for k in everyone])
    settings = chosen(*words, *SMALL, f"paths.root={tmp_path}")
    groups = (
        "model.head.",
        "model.fusion.",
        "model.branches.",
        "loss.",
        "optimizer.",
        "scheduler.",
        "sampler.",
    )
    late = (".name", ".pretrained", ".weights", ".freeze")  # known with the network or its files
    names = [name for name in flat(OmegaConf.to_container(settings)) if name.startswith(groups)]
    cases = [(name, bad) for name in names if not name.endswith(late) for bad in (0.5, 2, [], [2])]
    built = 0
    for name, bad in random.Random(1).sample(cases, 20):
        with changed(settings, name, bad):
            if not refused(settings):
                module = building.build_module(settings, data)
                fitting.build_datamodule(settings, data, module)
                built += 1
    assert built


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["seed=nan"], "seed=nan is not a whole number from 0 to 4294967295."),
        (["seed=inf"], "seed=inf is not a whole number"),
        (["seed=4294967296"], "seed=4294967296 is not a whole number"),
        (["split._target_=os.getcwd"], "split: posix.getcwd does not take these settings"),
        (["split._target_=pathlib.Path"], "is no function that returns a fibrolab.data.splits.Split"),
        (["data._target_=nothing.here"], "data._target_=nothing.here cannot be imported"),
        (["data._target_=builtins.min"], "names <built-in function min>, which takes no settings"),
        (
            ["data=table", "data.path=README.md", "data.classes=[F0,F0,F2,F3,F4]"],
            "two or more different names",
        ),
        (["data=table", "data.path=README.md", "data.classes=[]"], "two or more different names"),
        (["data=table", "data.path=README.md", "data.columns=7"], "data.columns=7 is not a mapping"),
        (["data=table", "data.path=nowhere.csv"], "data.path=nowhere.csv does not exist"),
        (["data=folder", "data.root=.", "data.patient='('"], "is not a regular expression with a group"),
        (["data=folder", "data.root=null"], "data.root must be given"),
        (["data.separability=2"], "data.separability=2 is not a number from 0 to 1."),
        (["data.patients=1000000000"], "data.patients=1000000000 is not a whole number from 15"),
        (["+data.foo=1"], "data.foo is not a setting of phantom. Leave it out with ~data.foo."),
        (["split.test=0.6", "split.val=0.5"], "leave one of three partitions empty"),
        (["task=nominal", "task.merge=[0,1]"], "belong together"),
        (["task.merge=[0,0,1,1,7]"], "must name each of the classes"),
        (["task.endpoints.ge_F2=9"], "task.endpoints.ge_F2=9 leaves no negative"),
        (
            ["+trainer.overfit_batches=1"],
            "trainer.overfit_batches is set by fibrolab: it replaces the sampler",
        ),
        (["+trainer.limit_val_batches=0"], "trainer.limit_val_batches=0 is not a whole number of batches"),
        (
            ["trainer.val_check_interval=0.5"],
            "trainer.val_check_interval=0.5 is not a whole number from 1, or",
        ),
        (["scheduler.name=plateau", "trainer.val_check_interval=5"], "needs a validation in every epoch"),
        (["trainer.val_check_interval=5", "+trainer.check_val_every_n_epoch=2"], "leave one of them out"),
        (["+trainer.num_nodes=2"], "the number of nodes comes from torchrun or srun"),
        (["+trainer.profiler=wrong"], "The trainer does not accept its settings"),
        (["trainer.accelerator=quantum"], "The trainer does not accept its settings"),
        (
            ["+callbacks.early_stopping.monitor=val/lss"],
            "callbacks.early_stopping.monitor=val/lss is not logged",
        ),
        (["callbacks.checkpoint.every_minutes=0"], "every_minutes=0 is not a number above 0"),
        (["trainer.requeue=often"], "trainer.requeue=often is neither true nor false"),
        (["callbacks.early_stopping.min_delta=abc"], "min_delta=abc is not a number"),
        (
            ["callbacks.early_stopping.check_finite=1"],
            "callbacks.early_stopping.check_finite=1 is not true or",
        ),
        (
            ["loggers=wandb", "loggers.wandb.offline=often"],
            "loggers.wandb.offline=often is not true or false",
        ),
        (["loss=binary"], "it needs two classes, and this task has 5"),
        (["loss=dice"], "loss=dice is a loss of pixels, and this task classifies samples: use one of binary"),
        (["model=unet", "loss=focal"], "loss=focal is a loss of samples, and this task classifies pixels"),
        (["scheduler=plateau", "+scheduler.threshold_mode=wrong"], "scheduler=plateau does not accept"),
        (["+optimizer.betas=[2,2]"], "optimizer=AdamW does not accept its settings"),
        (["+model.foo=1"], "does not take these settings"),
        (["model.head.hidden=[1000000000]"], "is not a list of widths up to 65536"),
        (["num_workers=1000000"], "processes from 0 to 1024"),
        (["+segment.foo=1"], "segment: fibrolab.data.clip_sampling.Segment does not take these settings"),
        (["~trainer.max_epochs"], "trainer.max_epochs=null is not a number"),
        (["name=${nothing}"], "name refers to a setting that cannot be read"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_the_sentence_says_what_is_wrong(words: list[str], sentence: str, chosen: Any) -> None:
    groups = [word for word in words if "." not in word.partition("=")[0] and word != words[-1]]
    single = [word for word in words if word not in groups]
    if words[-1].startswith("loss="):
        groups, single = words, []
    assert sentence in refused(chosen(*groups, single=single))


def test_a_plateau_schedule_steps_when_the_metric_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise Lightning ends the run in the first epoch without validation."""
    settings = composed("scheduler=plateau")

    module = Classifier.__new__(Classifier)
    torch.nn.Module.__init__(module)
    module.network = torch.nn.Linear(1, 1)
    module.network.depths = lambda: {"weight": 0, "bias": 0}
    monkeypatch.setattr(Classifier, "trainer", SimpleNamespace(max_epochs=4, check_val_every_n_epoch=2))
    given = {name: resolved(settings)[name] for name in ("optimizer", "scheduler", "mode", "monitor")}
    monkeypatch.setattr(Classifier, "hparams", given)
    assert module.configure_optimizers()["lr_scheduler"]["frequency"] == 2


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("model.branches.*.pooling", {NATIVE, *POOLINGS}),
        ("model.branches.*.scaling", set(SCALINGS)),
        ("model.head.activation", set(ACTIVATIONS)),
    ],
)
def test_words_are_those_of_the_part_that_they_choose(name: str, words: set[str]) -> None:
    assert set(allowed.ALLOWED[name].words.removeprefix("one of ").split(", ")) == words


def test_settings_of_a_users_own_class_are_left_to_it() -> None:
    own: Mapping[str, Any] = {"loss": {"_target_": "mine.Loss", "gamma": "steep"}, "batch_size": 0}
    assert list(allowed.faults(own)) == ["batch_size"]
    assert list(allowed.faults({"loss": {"name": "focal", "gamma": "steep"}})) == ["loss.gamma"]
