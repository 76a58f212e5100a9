"""Overlap of a data set with the training data of an earlier run: copies of images, and equal names."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fibrolab import keys
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.near_hashes import hash_codes, nearest
from fibrolab.errors import ConfigError
from fibrolab.runs.trained_run import TrainedRun

_DIFFERENT = (
    "their ids are hashed by different secrets, or in one of them only. Use one privacy.ids and one "
    "FIBROLAB_SECRET."
)
HASHES = ("sha256", "phash")  # hashes of each sample's image, columns of a run's manifest


def require_one_key(runs: Sequence[TrainedRun]) -> None:
    """Refuse runs whose samples cannot be matched, because their ids are hashed by different secrets.

    Raises:
        ConfigError: The runs have different secrets, or only some are hashed.
    """
    for other in runs[1:]:
        if other.ids_key != runs[0].ids_key:
            raise ConfigError(
                f"The samples of runs {runs[0].run_id} and {other.run_id} cannot be matched: {_DIFFERENT}"
            )


def copies(data: LabelledData, run: TrainedRun, partitions: Sequence[str]) -> np.ndarray:
    """Find samples whose image is a copy or near copy of an image that a run used.

    Only the images are compared, whatever the names of data sets, samples and patients.

    Args:
        data: N samples.
        run: The earlier run.
        partitions: Those of the run's `train` and `validation` that are searched.

    Returns:
        bool (N,).
    """
    return np.array([name != "" for name in originals(data, run, partitions)], bool)


def originals(data: LabelledData, run: TrainedRun, partitions: Sequence[str]) -> list[str]:
    """Name the sample of a run of whose image each sample is a copy, or else the nearest near copy.

    Args:
        data: N samples.
        run: The earlier run.
        partitions: Those of the run's `train` and `validation` that are searched.

    Returns:
        N names of samples of the run; empty where there is none.
    """
    learnt, facts = _learnt(run, tuple(partitions)), data.facts[keys.IMAGE]
    near = nearest(facts["phash"].tolist(), learnt.codes).tolist()
    names = [learnt.names[place] if place >= 0 else "" for place in near]
    return [learnt.equal.get(own, name) for own, name in zip(facts["sha256"], names, strict=True)]


class _Learnt(NamedTuple):
    """Images of a run.

    Attributes:
        names: Samples whose image has a perceptual hash (N,).
        codes: Those hashes, uint64 (N, words).
        equal: Sample by the SHA-256 of its image.
    """

    names: list[str]
    codes: np.ndarray
    equal: Mapping[str, str]


@lru_cache(maxsize=4)  # a server asks for those of one run at every request
def _learnt(run: TrainedRun, partitions: tuple[str, ...]) -> _Learnt:
    used = run.learnt_from[run.learnt_from[keys.PARTITION].isin(partitions)]
    hashed, equal = used[used["phash"] != ""], dict(zip(used["sha256"], used.index, strict=True))
    equal.pop("", None)
    hashes = hashed["phash"].tolist()
    return _Learnt(
        hashed.index.tolist(), hash_codes(hashes) if hashes else np.empty((0, 0), np.uint64), equal
    )


def namesakes(data: LabelledData, run: TrainedRun, partitions: Sequence[str], column: str) -> np.ndarray:
    """Find samples whose sample, group or patient has the name of one that a run used.

    A name identifies a patient within one data set only: "patient 1" of two hospitals are two patients. Data
    sets are one if their manifests are equal, or have one name (that of the user's file or folder).

    Args:
        data: N samples.
        run: The earlier run.
        partitions: Those of the run's `train` and `validation` that are searched.
        column: `sample_id`, `group_id` or `patient_id`.

    Returns:
        bool (N,); all False where the run was trained on a data set of another name.

    Raises:
        ConfigError: The data sets have one name, and their ids are hashed by different secrets.
    """
    if not _one_data_set(data, run):
        return np.zeros(len(data.manifest), bool)
    require_same_key(data, run)
    samples = run.learnt_from.reset_index()
    used = samples.loc[samples[keys.PARTITION].isin(partitions), column]
    ours = data.manifest.table[column]
    return ((ours != "") & ours.isin(used)).to_numpy()


def known(data: LabelledData, run: TrainedRun, partitions: Sequence[str]) -> np.ndarray:
    """Find samples that a run used: the sample itself, a copy of its image, or another of its group.

    If both have the same manifest, names suffice; otherwise copies and near copies of images are found too.

    Args:
        data: N samples.
        run: The earlier run.
        partitions: The run's partitions that are searched, such as `train` and `validation`.

    Returns:
        bool (N,).

    Raises:
        ConfigError: As `namesakes`.
    """
    seen = namesakes(data, run, partitions, keys.SAMPLE_ID)
    if not data.split.crossing:  # a paper's random split separates samples of a patient anyway, and warns
        seen = seen | namesakes(data, run, partitions, keys.GROUP_ID)
    return seen if run.manifest_hash == data.manifest.hash else seen | copies(data, run, partitions)


def require_same_key(data: LabelledData, run: TrainedRun) -> None:
    """Refuse a run of the same data set whose ids are hashed otherwise: its patients would not be found.

    Raises:
        ConfigError: The data sets have one name, and their ids are hashed by different secrets.
    """
    if _one_data_set(data, run) and run.ids_key != data.manifest.ids_key:
        raise ConfigError(
            f"The patients of '{data.manifest.name}' cannot be compared with those of run {run.run_id}: "
            f"{_DIFFERENT} If this is another data set, give its file or folder another name."
        )


def _one_data_set(data: LabelledData, run: TrainedRun) -> bool:
    return run.data_name == data.manifest.name or run.manifest_hash == data.manifest.hash
