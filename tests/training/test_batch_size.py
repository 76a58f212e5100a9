"""`batch_size=auto`: the largest batch that fits, found without a trace in module and random states."""

import copy
import random
from pathlib import Path

import pytest
import torch
from compose import composed
from hypothesis import given
from hypothesis import strategies as st
from small_classifier import settings
from small_clinic import clinic, datamodule

from fibrolab import keys
from fibrolab.analyses.run_files import record
from fibrolab.config import resolved
from fibrolab.errors import ConfigError
from fibrolab.modules.classifiers import SingleClassifier
from fibrolab.tracking import track
from fibrolab.training import batch_size, fitting

CPU = torch.device("cpu")


@given(limit=st.integers(0, 5000), most=st.integers(1, 5000))
def test_the_size_found_fits_and_exceeds_two_thirds_of_the_largest(limit: int, most: int) -> None:
    tried = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= limit

    found = batch_size.search(fits, most)
    best = min(limit, most)
    if limit < min(2, most):
        assert found is None
    else:
        assert found is not None
        assert 2 * best / 3 < found <= best
        assert found == most or f"{found:b}".lstrip("1").count("1") == 0  # 2^k or 3 * 2^k
    assert max(tried) <= most
    assert len(tried) <= 15


class Limited(SingleClassifier):
    """A classifier with memory for a few samples only."""

    limit, seen = 4, 0

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        """Fail as a full device does."""
        Limited.seen = max(Limited.seen, len(batch[keys.LABEL]))
        if len(batch[keys.LABEL]) > self.limit:
            raise torch.OutOfMemoryError("out of memory")
        assert self.training
        return super().training_step(batch, batch_idx)


def module(limit: int, **changes: object) -> Limited:
    made = Limited(**settings(classes=["mild", "severe"], class_counts=[3, 3], **changes))
    made.limit = limit
    return made


@pytest.mark.parametrize(("limit", "found"), [(2, 2), (3, 3), (5, 4), (6, 6), (1000, 6)])
@pytest.mark.parametrize("augment_on", ["workers", "device"])
def test_the_largest_batch_fits_and_is_at_most_the_training_set(
    tmp_path: Path, limit: int, found: int, augment_on: str
) -> None:
    transforms = [{"name": "HorizontalFlip"}]
    data = datamodule(clinic(tmp_path), keys.IMAGE, transforms=transforms, augment_on=augment_on)
    data.prepare_data()
    assert batch_size.largest_batch(module(limit), data, CPU, "bf16-mixed") == found


def test_nothing_is_left_of_the_search(tmp_path: Path) -> None:
    data = datamodule(clinic(tmp_path), keys.IMAGE)
    data.prepare_data()
    trained = module(4)
    before, metrics = copy.deepcopy(trained.state_dict()), dict(trained.train_metrics.items())
    states = random.getstate(), torch.get_rng_state()
    batch_size.largest_batch(trained, data, CPU)
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert all(parameter.grad is None for parameter in trained.parameters())
    assert all(metric.update_count == 0 for metric in metrics.values())
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


def test_parameters_that_are_unfrozen_later_take_memory_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = datamodule(clinic(tmp_path), keys.IMAGE)
    data.prepare_data()
    trained = module(4, branches={"image": {"name": "test_resnet", "freeze": "gradual", "unfreeze_every": 2}})
    trained.network.at_epoch(0)
    assert not all(parameter.requires_grad for parameter in trained.network.parameters())
    seen = []
    step = Limited.training_step

    def watched(self: Limited, *given: object) -> torch.Tensor:
        seen.append(all(parameter.requires_grad for parameter in self.network.parameters()))
        return step(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Limited, "training_step", watched)
    batch_size.largest_batch(trained, data, CPU)
    assert seen
    assert all(seen)


def test_a_device_without_room_for_two_samples_is_refused(tmp_path: Path) -> None:
    data = datamodule(clinic(tmp_path), keys.IMAGE)
    data.prepare_data()
    with pytest.raises(ConfigError, match="not even two samples fit on cpu"):
        batch_size.largest_batch(module(1), data, CPU)


def test_an_error_that_is_none_of_memory_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    data = datamodule(clinic(tmp_path), keys.IMAGE)
    data.prepare_data()
    monkeypatch.setattr(Limited, "training_step", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        batch_size.largest_batch(module(4), data, CPU)


@pytest.mark.parametrize("accelerator", ["cpu", "auto", "mps"])
def test_a_run_that_is_not_on_a_gpu_is_refused(accelerator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: accelerator == "cpu")
    with pytest.raises(ConfigError, match="the memory of a CPU has no such limit"):
        batch_size.check_auto("auto", accelerator)
    batch_size.check_auto(32, accelerator)


def test_the_decision_is_in_the_config_the_datamodule_and_mlflow(
    place: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    data = datamodule(clinic(tmp_path), keys.IMAGE)
    config = composed("batch_size=auto", f"paths.root={tmp_path}")
    monkeypatch.setattr(batch_size, "largest_batch", lambda *_: 96)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    with track(**place, name="one", tags={}) as tracked:
        record(tracked, config, resolved(config), {"packages": {}, "git_commit": "", "command": ""})
        fitting.decide_batch_size(config, module(4), data, tracked)
        run = tracked._client.get_run(tracked.id)
    assert run.data.params["batch_size"] == "96"
    assert config.batch_size == data.batch_size == 96
    assert "batches of 96 fit on a GPU" in capsys.readouterr().out
