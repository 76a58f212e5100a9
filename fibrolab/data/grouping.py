"""Groups: what must never be parted. The patient; where none is known, the cluster of copies."""

from dataclasses import replace

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.duplicates import clusters, linked, shared_value_pairs
from fibrolab.data.manifest import Manifest


def grouped(manifest: Manifest, facts: pd.DataFrame) -> Manifest:
    """Join a sample without a patient to every copy and near copy of it, and to what is cut from its file.

    Groups that the source gave, such as the volumes that frames were cut from, are joined as wholes, and so
    are patients that an image without a patient may belong to. Samples that all name their patients are not
    joined: a copy under another patient's name is a fault of the data, which the audit reports and no
    grouping hides.

    Args:
        manifest: The samples.
        facts: Survey of their images, row by row.

    Returns:
        The same samples; each new group has the name of its first group.
    """
    loose = manifest.table[keys.PATIENT_ID] == ""
    if not loose.any():
        return manifest
    alike = clusters(*(facts[name].tolist() for name in ("sha256", "phash", "file_sha256")))
    concerned = loose.groupby(alike).transform("any")
    shared = (np.where(concerned, alike.astype(str), "").tolist(), manifest.groups.tolist())
    cluster = linked(len(manifest), np.concatenate([shared_value_pairs(values) for values in shared]))
    groups = manifest.table[keys.GROUP_ID].groupby(cluster).transform("min")
    return replace(manifest, table=manifest.table.assign(**{keys.GROUP_ID: groups}))
