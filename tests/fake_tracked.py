"""A finished run in a tracking database, with the files that comparing and stacking read."""

import json
from typing import Any

import pandas as pd
import yaml

from fibrolab import keys
from fibrolab.evaluation import predictions
from fibrolab.tracking import track


def leave(
    place: dict[str, str],
    name: str,
    frame: pd.DataFrame,
    samples: pd.DataFrame,
    config: dict[str, Any],
    audit: dict[str, Any],
    lineage: str,
) -> str:
    """Write a finished run with the predictions `frame`, and return its id.

    ``samples`` are those of all partitions, with partition and fold of each: they become the manifest and the
    split, which names the manifest by ``lineage``.
    """
    with track(**place, name=name, tags={}) as run:
        parted = [keys.PARTITION, keys.FOLD]
        predictions.write(frame, run.folder / keys.PREDICTIONS_FILE)
        samples.drop(columns=parted).to_csv(run.folder / keys.MANIFEST_FILE, index=False)
        split = samples[[keys.SAMPLE_ID, keys.GROUP_ID, *parted]].assign(manifest=lineage)
        split.to_csv(run.folder / keys.SPLIT_FILE, index=False)
        (run.folder / keys.AUDIT_FILE).write_text(json.dumps(audit))
        (run.folder / keys.ENVIRONMENT_FILE).write_text(json.dumps({"format": keys.FORMAT}))
        (run.folder / keys.CONFIG_FILE).write_text(yaml.safe_dump(config))
    return run.id
