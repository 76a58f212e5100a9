"""The files of a run that an evaluation reads, without a training."""

import json
from pathlib import Path

import fake_run
import pandas as pd
import yaml
from fake_arms import STAGES, predictions_of

from fibrolab import keys
from fibrolab.evaluation import predictions

ENDPOINTS = {"ge_F2": 2, "ge_F4": 4}


def make(folder: Path, per_patient: int = 2) -> Path:
    """Write a run that reached its test, before its evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    frame = predictions_of(1.5, 0, per_patient=per_patient)
    predictions.write(frame, folder / keys.PREDICTIONS_FILE)
    trained = frame.assign(sample_id="t" + frame[keys.SAMPLE_ID], partition=keys.TRAIN)
    known = pd.concat([frame, trained], ignore_index=True)[list(predictions.COLUMNS)]
    known.drop(columns=[keys.PARTITION, keys.FOLD]).to_csv(folder / keys.MANIFEST_FILE, index=False)
    split = known[[keys.SAMPLE_ID, keys.GROUP_ID, keys.PARTITION, keys.FOLD]].assign(manifest="made up")
    split.to_csv(folder / keys.SPLIT_FILE, index=False)
    (folder / keys.AUDIT_FILE).write_text(json.dumps(fake_run.audit(STAGES, 40)))
    (folder / keys.ENVIRONMENT_FILE).write_text(json.dumps({"format": keys.FORMAT}))
    task = {"name": "stage", "classes": list(STAGES), "ordered": True, "endpoints": ENDPOINTS}
    config = fake_run.config(STAGES) | {"task": task}
    (folder / keys.CONFIG_FILE).write_text(yaml.safe_dump(config))
    return folder
