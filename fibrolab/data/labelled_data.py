"""Labelled data: a data set with the classes of a task and a split, for training and evaluation."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.choices import refuse
from fibrolab.command_line import quote
from fibrolab.data.manifest import Manifest
from fibrolab.data.splits import Split, all_test
from fibrolab.errors import ConfigError
from fibrolab.mask_classes import MaskClasses

_PLAIN = re.compile(r"[\w.-]+", re.ASCII)  # a name that needs no quotes


@dataclass(frozen=True)
class LabelledData:
    """Samples with their classes under a task.

    Attributes:
        manifest: The samples.
        facts: Survey of each modality, one row per sample. If a sample lacks a modality, every text is empty
            and every number 0. `image` is always there: it surveys the image that represents the sample
            (`Manifest.pictures`), such as the middle frame of a clip without a still.
        labels: Class of every sample under the task, int64 (N,); `keys.UNLABELLED` where it is not known.
        classes: Names of those classes.
        split: The split into training, validation and test.
        masks: Classes of the pixels, if the task is to segment.
    """

    manifest: Manifest
    facts: Mapping[str, pd.DataFrame]
    labels: np.ndarray
    classes: list[str]
    split: Split
    masks: MaskClasses | None = None

    @property
    def targets(self) -> list[str]:
        """Names of the classes that are predicted: of pixels, if the task is to segment, else of samples."""
        return self.classes if self.masks is None else self.masks.names

    def subset(self, rows: np.ndarray) -> "LabelledData":
        """Return some samples, by their rows int64 (n,), all in the test partition."""
        manifest = replace(self.manifest, table=self.manifest.table.iloc[rows].reset_index(drop=True))
        facts = {name: table.iloc[rows].reset_index(drop=True) for name, table in self.facts.items()}
        return LabelledData(manifest, facts, self.labels[rows], self.classes, all_test(manifest))


def task_faults(
    classes: Sequence[str] | None, of: Sequence[str] | None, merge: Sequence[int] | None
) -> list[str]:
    """Return a sentence on each contradiction between the settings of a task.

    Args:
        classes: Names of its classes; None for those of the data.
        of: The data's classes that it merges; None for any.
        merge: Class of the task for each of them.
    """
    if of is None or merge is None:
        one = of is None and merge is None
        return [] if one else ["task.of and task.merge belong together: give both, or null for both."]
    if len(merge) != len(of):
        return [f"task.merge names a class for {len(merge)} of the {len(of)} classes of task.of."]
    if classes is not None and set(merge) != set(range(len(classes))):
        last = len(classes) - 1
        return [f"task.merge={list(merge)} must name each of the classes of task.classes, from 0 to {last}."]
    return []


def labels_under(
    task: str,
    of: Sequence[str] | None,
    merge: Sequence[int] | None,
    manifest: Manifest,
    trained: bool = False,
) -> np.ndarray:
    """Merge each of the manifest's classes into a class of the task.

    Returns:
        Class of every sample, int64 (N,); `keys.UNLABELLED` where it is not known.

    Args:
        task: Name of the task, for the message.
        of: The classes that it merges, in their order; None for the manifest's classes without merging.
        merge: Class of the task for each of them.
        manifest: The samples.
        trained: Whether the task is that of a trained network, which no setting changes.

    Raises:
        ConfigError: The task was made for other classes, or for another order of them.
    """
    if of is None or merge is None:
        return manifest.labels
    if trained:
        refuse_other_classes(manifest, list(map(str, of)))
    if list(map(str, of)) != list(manifest.classes):
        raise ConfigError(
            f"task={task} is made for the classes {', '.join(map(str, of))}; '{manifest.name}' has "
            f"{', '.join(manifest.classes)}. task=nominal takes them as they are, task=lesion is for focal "
            "lesions; if they are stages of fibrosis in this order, set "
            f"{_setting('task.of', manifest.classes)}."
        )
    refuse(task_faults(None, of, merge))
    labels = manifest.labels
    return np.where(labels == keys.UNLABELLED, labels, np.asarray(merge, np.int64)[labels])


def refuse_other_classes(manifest: Manifest, expected: Sequence[str]) -> None:
    """Refuse samples of other classes than a trained network predicts, or in another order.

    Raises:
        ConfigError: The classes differ.
    """
    if list(manifest.classes) == list(expected):
        return
    setting = _setting("data.classes", expected)
    mend = f"choose data of these classes; if its labels are numbers from 0, name them by {setting}"
    if sorted(manifest.classes) == sorted(expected):
        mend = f"set {setting}"
    raise ConfigError(
        f"'{manifest.name}' has the classes {', '.join(manifest.classes)}, the network predicts "
        f"{', '.join(expected)}, in this order: {mend}."
    )


def _setting(name: str, classes: Sequence[str]) -> str:
    """Return a word of the command line that sets a list of classes, in quotes if the shell needs them."""
    word = f"{name}=[{','.join(each if _PLAIN.fullmatch(each) else quote(each) for each in classes)}]"
    return word if all(map(_PLAIN.fullmatch, classes)) else f'"{word}"'
