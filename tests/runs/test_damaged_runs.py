"""Checkpoints and settings of a run that were changed or written by another program are refused."""

from pathlib import Path

import pytest
import torch
import yaml
from fake_record import make

from fibrolab import keys
from fibrolab.errors import DataError, FibrolabError
from fibrolab.runs import TrainedRun, checkpoint

RECORD = {"format": keys.FORMAT, "_target_": "fibrolab.modules.classifiers.SingleClassifier"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([1, 2], "was written by another program"),
        ({"state_dict": {}}, "was written by another program"),
        ({"state_dict": {}, checkpoint.KEY: RECORD}, "holds no hyper_parameters: give a checkpoint of a run"),
        ({checkpoint.KEY: RECORD}, "holds no hyper_parameters nor state_dict"),
        ({"path": Path("a")}, "is damaged .it is not a file of tensors.: train the run again"),
    ],
)
def test_another_programs_checkpoint_is_refused_without_advice_to_load_it(
    content: object, sentence: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / keys.BEST)
    with pytest.raises(FibrolabError, match=sentence) as refused:
        checkpoint.load(tmp_path / keys.BEST)
    assert "weights_only" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("seed", "zero", "seed=zero is not a whole number"),
        ("task", {"name": "stage", "classes": 5, "ordered": True}, "task.classes=5 is not a list"),
    ],
)
def test_changed_settings_of_a_run_are_refused(
    name: str, value: object, sentence: str, tmp_path: Path
) -> None:
    path = make(tmp_path) / keys.CONFIG_FILE
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {name: value}))
    with pytest.raises(DataError, match=f"config.yaml is damaged .{sentence}"):
        _ = TrainedRun(tmp_path).config
