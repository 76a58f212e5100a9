"""Groups: what must never be parted. The patient; where none is known, the cluster of copies."""

from dataclasses import replace

import pandas as pd

from fibrolab import keys
from fibrolab.data.duplicates import clusters
from fibrolab.data.manifest import Manifest


def grouped(manifest: Manifest, facts: pd.DataFrame) -> Manifest:
    """Join the samples without a patient that are copies or near copies of one image.

    Groups that the source gave, such as the volumes that frames were cut from, are joined as wholes. Samples
    with a patient keep their groups: a copy under another patient's name is a fault of the data, which the
    audit reports and no grouping hides.

    Args:
        manifest: The samples.
        facts: Survey of their images, row by row.

    Returns:
        The same samples; each new group has the name of its first group.
    """
    loose = (manifest.table[keys.PATIENT_ID] == "").to_numpy()
    if not loose.any():
        return manifest
    groups = manifest.table.loc[loose, keys.GROUP_ID]
    known = facts[loose]
    cluster = clusters(known["sha256"].tolist(), known["phash"].tolist(), groups.tolist())
    table = manifest.table.copy()
    table.loc[loose, keys.GROUP_ID] = groups.groupby(cluster).transform("min")
    return replace(manifest, table=table)
