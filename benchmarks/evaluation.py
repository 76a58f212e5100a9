"""Seconds, memory and bytes of evaluation, report and comparison of finished runs, each against its bound.

    python -m benchmarks.evaluation

10,000 simulated samples in five stages, four per patient, are scored with 1,000 resamples of the patients. A
run with 6,323 test samples, as in a cross-validation, is evaluated and reported; its manifest has the columns
for subgroups, cohort and clinical markers, and its largest errors have images. Then two such runs are
compared.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from benchmarks.stages import staged
from fibrolab import keys
from fibrolab.analyses import evaluation_tables
from fibrolab.evaluation import predictions, score
from fibrolab.evaluation.comparison import comparison_table
from fibrolab.evaluation.comparison.arms import Task, arm_from_runs
from fibrolab.reporting import run_outputs

STAGES = ("F0", "F1", "F2", "F3", "F4")
ENDPOINTS = {"ge_F2": 2, "ge_F3": 3, "ge_F4": 4}
ROWS = 4  # samples per patient
SCORED, REPORTED = 10_000, 6_323
MEGABYTES = 10  # largest size of the page


def predicted(n: int, seed: int = 1) -> pd.DataFrame:
    """Return predictions of n test and n / 2 validation samples, whose truth does not depend on the seed."""
    owner = np.arange(n + n // 2) // ROWS
    truth = np.random.default_rng(0).integers(len(STAGES), size=owner[-1] + 1)[owner]
    noise = np.random.default_rng(seed).normal(size=(len(owner), len(STAGES)))
    chances = np.exp(1.6 * noise - 2 * np.abs(np.arange(len(STAGES)) - truth[:, None]))
    chances /= chances.sum(axis=1, keepdims=True)
    patient = [f"p{number}" for number in owner]
    columns = {
        keys.SAMPLE_ID: [f"s{row}" for row in range(len(owner))],
        keys.GROUP_ID: patient,
        keys.PATIENT_ID: patient,
        keys.SITE: np.where(owner % 2, "north", "south"),
        keys.PARTITION: np.where(np.arange(len(owner)) < n, keys.TEST, keys.VALIDATION),
        keys.FOLD: 0,
        keys.Y_TRUE: truth,
    }
    return pd.DataFrame(columns | dict(zip(keys.probability_columns(len(STAGES)), chances.T, strict=True)))


def manifest(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the manifest and split of the predicted samples and of as many training samples."""
    trained = frame.assign(**{name: "t" + frame[name] for name in (keys.SAMPLE_ID, keys.GROUP_ID)})
    trained[keys.PATIENT_ID], trained[keys.PARTITION] = trained[keys.GROUP_ID], keys.TRAIN
    table = pd.concat([frame, trained], ignore_index=True)
    rng, n = np.random.default_rng(2), len(table)
    known = {
        keys.LABEL: table[keys.Y_TRUE],
        keys.SEX: rng.choice(["F", "M"], n),
        keys.AGE_YEARS: rng.integers(20, 80, n),
        keys.SCANNER: rng.choice(["A", "B", "C"], n),
        keys.LSM_KPA: (rng.gamma(3, 2, n) + 3 * table[keys.Y_TRUE]).clip(2, 70).round(1),
        keys.AST_U_L: rng.integers(15, 200, n),
        keys.AST_ULN_U_L: 40,
        keys.ALT_U_L: rng.integers(15, 200, n),
        keys.PLATELETS_1E9_L: rng.integers(60, 350, n),
    }
    return table[list(predictions.COLUMNS)].join(pd.DataFrame(known))


def finished(folder: Path) -> Path:
    """Write the files of a run as a training does, and return the folder."""
    frame = predicted(REPORTED)
    table = manifest(frame)
    counts = {
        part: dict(zip(STAGES, np.bincount(rows[keys.Y_TRUE], minlength=len(STAGES)).tolist(), strict=True))
        for part, rows in table.groupby(keys.PARTITION)
    }
    config = {
        "name": "made up",
        "seed": 0,
        "data": {"name": "table"},
        "task": {"name": "stage", "classes": list(STAGES), "ordered": True, "endpoints": ENDPOINTS},
        "model": {"name": "single"},
        "split": {"name": "kfold"},
        "bootstrap": {"resamples": 1000, "level": 0.95},
    }
    predictions.write(frame, folder / keys.PREDICTIONS_FILE)
    table.to_csv(folder / keys.MANIFEST_FILE, index=False)
    table[[keys.SAMPLE_ID, keys.GROUP_ID, keys.PARTITION, keys.FOLD]].to_csv(
        folder / keys.SPLIT_FILE, index=False
    )
    epochs = np.arange(30)
    curves = {
        "epoch": epochs,
        "step": 100 * epochs,
        "train/loss": 1.6 * 0.9**epochs,
        "val/loss": 1.5 * 0.93**epochs,
    }
    pd.DataFrame(curves).to_csv(folder / keys.HISTORY_FILE, index=False)
    (folder / keys.CONFIG_FILE).write_text(yaml.safe_dump(config))
    (folder / keys.AUDIT_FILE).write_text(json.dumps({"verdict": "ok", "partitions": counts}))
    return folder


def reported(folder: Path) -> None:
    """Evaluate a run and write its report."""
    evaluation_tables.write(folder)
    run_outputs.draw_mistakes(folder, pictures)
    run_outputs.write(folder)


def pictures(names: object) -> dict[str, np.ndarray]:
    """Return noise, which PNG cannot compress, instead of ultrasound images."""
    rng = np.random.default_rng(3)
    return {str(name): rng.integers(0, 256, (224, 224), dtype=np.uint8) for name in names}  # type: ignore[attr-defined]


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    frame = predicted(SCORED)
    staged(
        f"all measures, n = {SCORED:,}",
        lambda: score.score(frame, STAGES, endpoints=ENDPOINTS, resamples=1000),
        bound=10,
    )
    with tempfile.TemporaryDirectory() as root:
        folder = finished(Path(root))
        staged(f"report, {REPORTED:,} samples", lambda: reported(folder), bound=20)
        size = (folder / keys.REPORT_FILE).stat().st_size / 1e6
        print(f"{'its page':28} {size:8.2f} MB  {size / MEGABYTES:26.0%} of {MEGABYTES} MB")
    task = Task(STAGES, True, ENDPOINTS)
    arms = [
        arm_from_runs(name, [predicted(REPORTED, seed)], task) for seed, name in enumerate(("one", "other"))
    ]
    staged(
        f"two arms, {REPORTED:,} samples",
        lambda: comparison_table.table(arms, task, "sample", resamples=1000),
    )


if __name__ == "__main__":
    main()
