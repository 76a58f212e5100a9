"""Overlap of a data set with the samples that an earlier run has learnt from: copies of images, and names."""

from collections.abc import Sequence

import numpy as np

from fibrolab import keys
from fibrolab.data.duplicates import near_any
from fibrolab.data.labelled_data import LabelledData
from fibrolab.runs.trained_run import TrainedRun

HASHES = ("sha256", "phash")  # of each sample's picture, columns of a run's manifest


def copies(data: LabelledData, run: TrainedRun, partitions: Sequence[str]) -> np.ndarray:
    """Find samples whose picture is a copy or near copy of one that a run has learnt from.

    Names of data sets, samples and patients do not matter here: only the pictures do.

    Args:
        data: The samples, N.
        run: The earlier run.
        partitions: Its partitions that count as learnt from.

    Returns:
        bool (N,).
    """
    learnt = run.samples[run.samples[keys.PARTITION].isin(partitions)]
    facts = data.facts[keys.IMAGE]
    equal = ((facts["sha256"] != "") & facts["sha256"].isin(learnt["sha256"])).to_numpy()
    ours = np.flatnonzero(facts["phash"] != "")
    hashes = [*facts["phash"].iloc[ours], *learnt["phash"][learnt["phash"] != ""]]
    members = np.arange(len(hashes))[:, None] >= len(ours)
    near = np.zeros(len(facts), bool)
    if len(ours):
        near[ours] = near_any(hashes, members)[: len(ours), 0]
    return equal | near


def namesakes(data: LabelledData, run: TrainedRun, partitions: Sequence[str], column: str) -> np.ndarray:
    """Find samples whose sample, group or patient bears the name of one that a run has learnt from.

    A name identifies a patient within one data set only: "patient 1" of two hospitals are two patients.

    Args:
        data: The samples, N.
        run: The earlier run.
        partitions: Its partitions that count as learnt from.
        column: `sample_id`, `group_id` or `patient_id`.

    Returns:
        bool (N,); False throughout where the run was trained on a data set of another name.
    """
    if run.config.data.name != data.manifest.name:
        return np.zeros(len(data.manifest), bool)
    samples = run.samples.reset_index()
    learnt = samples.loc[samples[keys.PARTITION].isin(partitions), column]
    ours = data.manifest.table[column]
    return ((ours != "") & ours.isin(learnt)).to_numpy()
