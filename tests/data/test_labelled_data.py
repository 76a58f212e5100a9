"""Classes under a task: merged if the data has the classes of the task, and refused otherwise."""

from pathlib import Path

import pandas as pd
import pytest
from compose import composed, of_samples

from fibrolab import keys
from fibrolab.data.labelled_data import labels_under
from fibrolab.data.manifest import Manifest
from fibrolab.errors import ConfigError

STAGES = ("F0", "F1", "F2", "F3", "F4")
ALPHABETICAL = ("cirrhosis", "few septa", "many septa", "no fibrosis", "portal")


def manifest_of(classes: tuple[str, ...]) -> Manifest:
    samples = [f"s{i}" for i in range(len(classes))]
    table = pd.DataFrame({keys.SAMPLE_ID: samples, keys.LABEL: range(len(classes)), keys.IMAGE: samples})
    return Manifest(table, classes, "toy", Path())


def test_an_end_point_merges_stages() -> None:
    assert labels_under("ge_F2", STAGES, [0, 0, 1, 1, 1], manifest_of(STAGES)).tolist() == [0, 0, 1, 1, 1]


def test_a_nominal_task_merges_nothing() -> None:
    assert labels_under("nominal", None, None, manifest_of(ALPHABETICAL)).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("classes", [ALPHABETICAL, STAGES[::-1], STAGES[:4]])
def test_other_classes_or_another_order_are_refused_with_advice(classes: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"made for the classes F0, F1.*task=nominal.*task\.of=\["):
        labels_under("stage", STAGES, range(5), manifest_of(classes))


def test_each_merged_class_needs_a_class_of_the_task() -> None:
    with pytest.raises(ConfigError, match="4 of the 5 classes"):
        labels_under("stage", STAGES, range(4), manifest_of(STAGES))


@pytest.mark.parametrize("task", of_samples("task"))
def test_every_task_merges_its_own_classes(task: str) -> None:
    settings = composed(f"task={task}").task
    assert (settings.of is None) == (settings.merge is None) == (settings.classes is None)
    if settings.of is not None:
        labels = labels_under(task, settings.of, settings.merge, manifest_of(tuple(settings.of)))
        assert sorted(set(labels.tolist())) == list(range(len(settings.classes)))
