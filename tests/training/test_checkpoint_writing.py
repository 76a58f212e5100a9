"""Checkpoints that are written while the training goes on: their order, content, limits and faults."""

import errno
import io
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest
import torch
from compose import composed
from small_classifier import loader, settings, trainer

from fibrolab import keys, storage
from fibrolab.callbacks.stopping_and_resuming import BestCheckpoint, LastCheckpoint
from fibrolab.errors import StorageError
from fibrolab.modules.classifiers import SingleClassifier
from fibrolab.runs.checkpoint import KEY
from fibrolab.training.checkpoint_writing import RecordedCheckpoints
from fibrolab.training.trainer_parts import uploads_checkpoints


class Disk:
    """A disk whose writes begin when it is released, and which may be full from some write on."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.released, self.writes, self.full_from = threading.Event(), list[str](), 10**9
        self._put_all = storage.put_all
        patch.setattr(storage, "put_all", self.put_all)

    def put_all(self, files: dict[Path, storage.Content]) -> None:
        assert self.released.wait(60)
        self.writes += [path.name for path in files]
        if len(self.writes) >= self.full_from:
            files = dict.fromkeys(files, self._refuse)
        self._put_all(files)

    @staticmethod
    def _refuse(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def release_later(self) -> None:
        threading.Timer(0.2, self.released.set).start()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def read(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["step"])


def test_the_training_goes_on_while_a_copy_of_the_state_is_written(disk: Disk, tmp_path: Path) -> None:
    writer, weights = RecordedCheckpoints({}), torch.zeros(3)
    writer.save_checkpoint({"weights": weights, "rows": (rows := [1])}, tmp_path / keys.LAST)
    weights += 1
    rows.append(2)
    assert not disk.writes
    disk.released.set()
    writer.teardown()
    found = torch.load(tmp_path / keys.LAST, weights_only=True)
    assert (found["weights"].tolist(), found["rows"]) == ([0, 0, 0], [1])


@pytest.mark.parametrize("act", ["load", "remove", "teardown"])
def test_what_reads_or_removes_a_checkpoint_waits_for_the_writes(
    act: str, disk: Disk, tmp_path: Path
) -> None:
    writer, path = RecordedCheckpoints({}), tmp_path / keys.BEST
    torch.save({"step": 0}, path)
    for step in (1, 2):
        writer.save_checkpoint({"step": step}, path)
    assert read(path) == 0
    disk.release_later()
    if act == "load":
        assert writer.load_checkpoint(path, weights_only=True)["step"] == 2
    elif act == "remove":
        writer.remove_checkpoint(path)
    else:
        writer.teardown()
    assert disk.writes == [keys.BEST, keys.BEST]
    assert list(tmp_path.iterdir()) == ([] if act == "remove" else [path])


def test_a_third_copy_waits_until_the_first_one_is_written(disk: Disk, tmp_path: Path) -> None:
    writer = RecordedCheckpoints({})
    for step in (1, 2):
        writer.save_checkpoint({"step": step}, tmp_path / keys.LAST)
    third = threading.Thread(target=writer.save_checkpoint, args=({"step": 3}, tmp_path / keys.LAST))
    third.start()
    third.join(0.2)
    assert third.is_alive()
    disk.released.set()
    third.join(60)
    writer.teardown()
    assert [read(tmp_path / name) for name in (keys.PREVIOUS, keys.LAST)] == [2, 3]


def test_the_last_checkpoint_is_kept_on_a_full_disk_and_temporary_files_are_not_used(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))  # any use of it fails
    writer, path = RecordedCheckpoints({"format": 1}), tmp_path / "run" / keys.LAST
    disk.full_from = 2
    writer.save_checkpoint({"epoch": 0}, path)
    writer.save_checkpoint({"epoch": 1}, path)
    disk.released.set()
    with pytest.raises(StorageError, match=r"last\.ckpt could not be written: the disk"):
        writer.teardown()
    assert torch.load(path, weights_only=True) == {"epoch": 0, KEY: {"format": 1}}
    links = {found.name: found.stat().st_ino for found in path.parent.iterdir()}
    assert links == dict.fromkeys((keys.LAST, keys.PREVIOUS), path.stat().st_ino)  # no space is taken


def test_after_a_best_epoch_that_was_not_written_no_state_names_it(disk: Disk, tmp_path: Path) -> None:
    writer, disk.full_from = RecordedCheckpoints({}), 1
    writer.save_checkpoint({"step": 1}, tmp_path / keys.BEST)
    writer.save_checkpoint({"step": 1}, tmp_path / keys.LAST)
    disk.released.set()
    with pytest.raises(StorageError, match=r"best\.ckpt"):
        writer.save_checkpoint({"step": 2}, tmp_path / keys.LAST)
    assert disk.writes == [keys.BEST]
    assert not list(tmp_path.iterdir())
    writer.teardown()  # the fault is raised once


def trained(folder: Path, *callbacks: L.Callback, epochs: int = 3) -> L.Trainer:
    """Train a small network with the callbacks and the writer of a run."""
    best = BestCheckpoint(folder, "best", "val/loss", save_weights_only=True)
    kept = [*callbacks, best, LastCheckpoint(folder, every_minutes=1e-9)]
    fit = trainer(folder, *kept, epochs=epochs, plugins=[RecordedCheckpoints({"format": 1})])
    fit.fit(SingleClassifier(**settings()), loader(40), loader())
    return fit


def test_a_disk_that_is_full_while_a_training_goes_on_ends_it_with_the_sentence(
    disk: Disk, tmp_path: Path
) -> None:
    disk.full_from = 6
    disk.released.set()
    with pytest.raises(
        StorageError, match=r"^\S+\.ckpt could not be written: the disk mounted at .* is full"
    ):
        trained(tmp_path)
    assert len(disk.writes) == 6
    assert {path.name for path in tmp_path.iterdir()} == {keys.LAST, keys.PREVIOUS, keys.BEST}
    assert torch.load(tmp_path / keys.LAST, weights_only=True)["global_step"] == 4


@pytest.mark.parametrize("how", ["end", "fault", "interruption"])
def test_every_end_of_a_training_waits_for_its_checkpoints(how: str, disk: Disk, tmp_path: Path) -> None:
    def act(fit: L.Trainer, *_: object) -> None:
        if fit.global_step == 1:
            disk.release_later()
            if how != "end":
                raise KeyboardInterrupt if how == "interruption" else ValueError

    ends = L.pytorch.callbacks.LambdaCallback(on_train_batch_start=act)
    if how == "end":
        trained(tmp_path, ends)
    else:
        with pytest.raises(SystemExit if how == "interruption" else ValueError):
            trained(tmp_path, ends)
    steps = torch.load(tmp_path / keys.LAST, weights_only=True)["global_step"]
    assert steps == (12 if how == "end" else 1)
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_checkpoint_has_the_bytes_that_torch_would_save_at_once(tmp_path: Path) -> None:
    fit = trained(tmp_path, epochs=1)
    whole = fit._checkpoint_connector.dump_checkpoint()
    whole |= {"tied": whole["state_dict"]["network.head.0.weight"], "part": torch.arange(9.0)[2:4]}
    writer = RecordedCheckpoints({"format": 1})
    writer.save_checkpoint(whole, tmp_path / "kept.ckpt")
    writer.teardown()
    torch.save({**whole, KEY: {"format": 1}}, expected := io.BytesIO())
    assert (tmp_path / "kept.ckpt").read_bytes() == expected.getvalue()


def test_a_tensor_with_a_graph_is_kept_without_it(tmp_path: Path) -> None:
    loss = (torch.ones(2, requires_grad=True) * 3).sum()
    writer = RecordedCheckpoints({})
    writer.save_checkpoint({"callbacks": {"own": [loss, 1]}}, tmp_path / "kept.ckpt")
    writer.teardown()
    assert torch.load(tmp_path / "kept.ckpt", weights_only=True)["callbacks"]["own"] == [6.0, 1]


def test_where_a_logger_uploads_every_checkpoint_each_is_written_before_the_training_goes_on(
    disk: Disk, tmp_path: Path
) -> None:
    wandb: Callable[..., bool] = lambda *words: uploads_checkpoints(composed("loggers=wandb", *words))  # noqa: E731
    assert wandb("+loggers.wandb.log_model=all")
    assert not wandb("+loggers.wandb.log_model=true")
    assert not wandb()
    assert not uploads_checkpoints(composed())
    disk.released.set()
    for step in range(3):
        writer = RecordedCheckpoints({}, waits=True)
        writer.save_checkpoint({"step": step}, tmp_path / keys.BEST)
        assert read(tmp_path / keys.BEST) == step
