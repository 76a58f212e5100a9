"""Checkpoints from which a training may be resumed."""

from pathlib import Path

import pytest
import torch

from fibrolab import keys
from fibrolab.errors import ConfigError, SplitError
from fibrolab.modules.classifiers import SingleClassifier
from fibrolab.runs.checkpoint import KEY, SPLIT, split_digest
from fibrolab.training.resuming import check_resumable


def module(**settings: dict) -> SingleClassifier:
    return SingleClassifier(
        branches={"image": {"name": "test_resnet"}},
        head={},
        classes=["F0", "F1"],
        class_counts=[1, 1],
        image_size=32,
        **{
            "loss": {"name": "cross_entropy"},
            "optimizer": {"name": "AdamW", "lr": 1e-3},
            "scheduler": {"name": "constant"},
        }
        | settings,
    )


@pytest.fixture
def last(tmp_path: Path) -> Path:
    """Path of a checkpoint with the digest of its run's split."""
    path = tmp_path / "theirs" / keys.CHECKPOINTS / "last.ckpt"
    path.parent.mkdir(parents=True)
    split = tmp_path / keys.SPLIT_FILE
    split.write_text("sample_id,partition\na,train\n")
    state = {"optimizer_states": [], "hyper_parameters": dict(module().hparams)}
    state[KEY] = {SPLIT: split_digest(split)}
    torch.save(state, path)
    return path


def test_the_same_settings_are_accepted_and_others_are_named(last: Path, tmp_path: Path) -> None:
    check_resumable(last, module(), tmp_path)
    with pytest.raises(ConfigError, match=r"loss\.name was cross_entropy, is focal"):
        check_resumable(last, module(loss={"name": "focal"}), tmp_path)


def test_another_split_is_refused(last: Path, tmp_path: Path) -> None:
    (tmp_path / keys.SPLIT_FILE).write_text("sample_id,partition\na,test\n")
    with pytest.raises(SplitError, match="another split"):
        check_resumable(last, module(), tmp_path)


def test_a_checkpoint_of_only_weights_is_refused(last: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, last)
    with pytest.raises(ConfigError, match="holds only weights"):
        check_resumable(last, module(), tmp_path)


@pytest.mark.parametrize("content", [b"", b"root:x:0:0", b"PK\x03\x04"])
def test_a_file_that_is_not_a_checkpoint_is_refused(content: bytes, last: Path, tmp_path: Path) -> None:
    last.write_bytes(content)
    with pytest.raises(ConfigError, match="not a checkpoint, or it is broken"):
        check_resumable(last, module(), tmp_path)


def test_a_moved_checkpoint_still_has_its_split(last: Path, tmp_path: Path) -> None:
    moved = last.rename(tmp_path / "elsewhere.ckpt")
    check_resumable(moved, module(), tmp_path)
    (tmp_path / keys.SPLIT_FILE).write_text("sample_id,partition\na,test\n")
    with pytest.raises(SplitError, match="another split"):
        check_resumable(moved, module(), tmp_path)


def test_a_checkpoint_without_a_split_is_refused(last: Path, tmp_path: Path) -> None:
    state = torch.load(last, weights_only=True)
    del state[KEY][SPLIT]
    torch.save(state, last)
    with pytest.raises(SplitError, match="another split"):
        check_resumable(last, module(), tmp_path)
