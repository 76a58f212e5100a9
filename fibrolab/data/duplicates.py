"""Duplicates and near duplicates: images with the same content, which must stay in one partition."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.manifest import Manifest
from fibrolab.data.near_hashes import linked, near_clusters


def shared_value_pairs(values: Sequence[str]) -> np.ndarray:
    """Return pairs (P, 2) that link the items with equal values in a chain; empty values link nothing."""
    given = pd.Series(values, dtype=str)
    codes = pd.factorize(given)[0]
    order = np.argsort(codes, kind="stable")
    order = order[(given != "").to_numpy(bool)[order]]
    same = codes[order[1:]] == codes[order[:-1]]
    return np.stack([order[:-1][same], order[1:][same]], axis=1)


def clusters(digests: Sequence[str], hashes: Sequence[str], *values: Sequence[str]) -> np.ndarray:
    """Cluster images that have identical bytes, are near copies or share any further value.

    Args:
        digests: Content hash of every file (N,).
        hashes: Perceptual hash of every file (N,).
        values: Further values, such as the CT volume, that link images with equal values; empty ones do not.

    Returns:
        Cluster numbers (N,), int64.
    """
    content = pd.factorize(pd.Series(digests, dtype=str))[0]
    first = np.unique(content, return_index=True)[1]
    near = near_clusters([hashes[i] for i in first])  # each distinct content is compared once
    head = np.unique(near, return_index=True)[1]
    near_pairs = np.stack([np.arange(len(content)), first[head[near]][content]], axis=1)
    shared = [shared_value_pairs(value) for value in values]
    return linked(len(content), np.concatenate([near_pairs, *shared]))


def grouped(manifest: Manifest, facts: pd.DataFrame) -> Manifest:
    """Group each sample without a patient with all its copies and near copies and other cuts of its file.

    Whole groups are joined, whether given by the source (such as the CT volume of a frame) or the patients
    that an image without a patient may belong to. Samples that all have a patient id are not joined: a copy
    under another patient's id is a fault of the data, which the audit reports and grouping must not hide.

    Args:
        manifest: The samples.
        facts: Survey of their images, one row per sample.

    Returns:
        The same samples; each new group has the name of its first group.
    """
    no_patient = manifest.table[keys.PATIENT_ID] == ""
    if not no_patient.any():
        return manifest
    copies = clusters(*(facts[name].tolist() for name in ("sha256", "phash", "file_sha256")))
    affected = no_patient.groupby(copies).transform("any")
    shared = (np.where(affected, copies.astype(str), "").tolist(), manifest.groups.tolist())
    cluster = linked(len(manifest), np.concatenate([shared_value_pairs(values) for values in shared]))
    groups = manifest.table[keys.GROUP_ID].groupby(cluster).transform("min")
    return replace(manifest, table=manifest.table.assign(**{keys.GROUP_ID: groups}))
