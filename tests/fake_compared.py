"""Fabricated finished runs, compared within this process, and their table."""

from contextlib import nullcontext

import fake_run
import fake_tracked
import numpy as np
import pandas as pd
from compose import composed
from drawn import unrendered
from fake_arms import STAGES, of_test, predictions_of

from fibrolab import keys
from fibrolab.analyses import comparing
from fibrolab.evaluation import predictions
from fibrolab.reporting.comparison_page import TABLE_FILE

QUICK = ("bootstrap.resamples=200",)
ENDPOINTS = {"ge_F2": 2, "ge_F4": 4}


def leave(
    place,
    frame,
    model="resnet",
    lineage="a manifest",
    verdict="ok",
    classes=STAGES,
    split=None,
    stiffness=False,
    train=None,
    **changes,
):
    """Write a finished run with these predictions and training samples, and return its id."""
    known = pd.concat([frame, train])[list(predictions.COLUMNS)].reset_index(drop=True)
    known[keys.LABEL] = known[keys.Y_TRUE]
    if stiffness:
        known[keys.LSM_KPA] = np.exp(1.5 + 0.4 * known[keys.Y_TRUE])
    audit = fake_run.audit(classes, 40) | {"verdict": verdict}
    if verdict == "fail":
        audit["findings"] = [{"level": "fail", "key": "exact_leak", "sentence": "9 test images leak."}]
    config = fake_run.config(classes) | changes
    config["model"] = {"name": model, "dropout": 0.5}
    config["task"] = {"name": "stage", "classes": list(classes), "ordered": True, "endpoints": ENDPOINTS}
    config["split"] = {"name": "grouped"} | (split or {})
    return fake_tracked.leave(place, f"{model}-clinic", frame, known, config, audit, lineage)


def compare(tmp_path, runs, *words, rendered=False):
    """Compare runs within this process, and return the folder of the new run."""
    text = str(runs).replace("'", "")
    with nullcontext() if rendered else unrendered():
        comparing.run(composed(f"runs={text}", f"paths.root={tmp_path}", *QUICK, *words, name="compare"))
    (path,) = tmp_path.glob(f"mlruns/artifacts/*/artifacts/{TABLE_FILE}")
    return path.parent


def table_of(folder):
    return pd.read_csv(folder / TABLE_FILE, keep_default_na=False, na_values=[""]).fillna(
        {"against": "", "of": "", "note": ""}
    )


def folds_of(place, skill, count=3, model="resnet", missing=(), repeated=None):
    """A run for each fold of a cross-validation of the test samples."""
    whole = predictions_of(skill, 0, n=60)
    rows, found = of_test(whole), []
    for fold in set(range(count)) - set(missing):
        tested = rows[np.arange(len(rows)) % count == (fold if repeated != fold else 0)]
        rest = rows[~rows[keys.SAMPLE_ID].isin(tested[keys.SAMPLE_ID])].assign(partition=keys.VALIDATION)
        frame = pd.concat([rest[::2], tested], ignore_index=True)
        split = {"name": "kfold", "folds": count, "fold": fold}
        found.append(leave(place, frame, model, split=split, train=rest[1::2].assign(partition=keys.TRAIN)))
    return found


def named(**arms):
    """Arms and their runs, as the command line takes them."""
    return "{" + ",".join(f"{name}:[{','.join(ids)}]" for name, ids in arms.items()) + "}"
