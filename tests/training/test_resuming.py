"""What a training may go on from."""

from pathlib import Path

import pytest
import torch

from fibrolab import keys
from fibrolab.errors import ConfigError, SplitError
from fibrolab.modules.classifiers import SingleClassifier
from fibrolab.runs.checkpoint import KEY, SPLIT, split_digest
from fibrolab.training.resuming import refuse_unlike


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
    """The checkpoint of a run in its folder, with the run's split."""
    path = tmp_path / "theirs" / keys.CHECKPOINTS / "last.ckpt"
    path.parent.mkdir(parents=True)
    split = tmp_path / keys.SPLIT_FILE
    split.write_text("sample_id,partition\na,train\n")
    state = {"optimizer_states": [], "hyper_parameters": dict(module().hparams)}
    state[KEY] = {SPLIT: split_digest(split)}
    torch.save(state, path)
    return path


def test_the_same_settings_go_on_and_others_are_named(last: Path, tmp_path: Path) -> None:
    refuse_unlike(last, module(), tmp_path)
    with pytest.raises(ConfigError, match=r"loss\.name was cross_entropy, is focal"):
        refuse_unlike(last, module(loss={"name": "focal"}), tmp_path)


def test_another_split_is_refused(last: Path, tmp_path: Path) -> None:
    (tmp_path / keys.SPLIT_FILE).write_text("sample_id,partition\na,test\n")
    with pytest.raises(SplitError, match="another split"):
        refuse_unlike(last, module(), tmp_path)


def test_weights_alone_are_no_state(last: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, last)
    with pytest.raises(ConfigError, match="holds weights alone"):
        refuse_unlike(last, module(), tmp_path)


@pytest.mark.parametrize("content", [b"", b"root:x:0:0", b"PK\x03\x04"])
def test_what_is_no_checkpoint_is_said(content: bytes, last: Path, tmp_path: Path) -> None:
    last.write_bytes(content)
    with pytest.raises(ConfigError, match="no checkpoint, or it is broken"):
        refuse_unlike(last, module(), tmp_path)


def test_a_checkpoint_that_was_moved_still_knows_its_split(last: Path, tmp_path: Path) -> None:
    moved = last.rename(tmp_path / "elsewhere.ckpt")
    refuse_unlike(moved, module(), tmp_path)
    (tmp_path / keys.SPLIT_FILE).write_text("sample_id,partition\na,test\n")
    with pytest.raises(SplitError, match="another split"):
        refuse_unlike(moved, module(), tmp_path)


def test_a_checkpoint_that_tells_no_split_is_not_trusted(last: Path, tmp_path: Path) -> None:
    state = torch.load(last, weights_only=True)
    del state[KEY][SPLIT]
    torch.save(state, last)
    with pytest.raises(SplitError, match="another split"):
        refuse_unlike(last, module(), tmp_path)
