"""Patients with predictions, stiffness and blood values that rise with their stage."""

import numpy as np
import pandas as pd

from fibrolab import keys


def clinic(patients: int = 120, seed: int = 0, images: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions, every second patient for test, and the manifest."""
    rng = np.random.default_rng(seed)
    stage = np.repeat(rng.integers(0, 5, patients), images)
    patient = np.repeat([f"p{i:03d}" for i in range(patients)], images)
    liver = np.repeat(rng.normal(size=patients), images)
    samples = [f"s{i:04d}" for i in range(patients * images)]
    manifest = pd.DataFrame(
        {
            keys.SAMPLE_ID: samples,
            keys.PATIENT_ID: patient,
            keys.VISIT_ID: patient + np.full(len(patient), "-v1"),
            keys.LSM_KPA: np.round(5 * np.exp(0.3 * stage + 0.25 * liver), 1),
            keys.AGE_YEARS: 40.0 + 4 * stage,
            keys.AST_U_L: np.round(30 * np.exp(0.2 * stage + 0.3 * liver)),
            keys.AST_ULN_U_L: 40.0,
            keys.ALT_U_L: 45.0,
            keys.PLATELETS_1E9_L: 260.0 - 25 * stage,
        }
    ).set_index(keys.SAMPLE_ID)
    scores = -np.abs(np.arange(5) - stage[:, None]) + rng.normal(size=(len(stage), 5))
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    part = np.where(np.repeat(np.arange(patients) % 2 == 0, images), keys.TEST, keys.VALIDATION)
    frame = pd.DataFrame(
        {
            keys.SAMPLE_ID: samples,
            keys.GROUP_ID: patient,
            keys.PATIENT_ID: patient,
            keys.SITE: "",
            keys.PARTITION: part,
            keys.FOLD: 0,
            keys.Y_TRUE: stage,
        }
        | dict(zip(keys.probability_columns(5), probabilities.T, strict=True))
    )
    return frame, manifest
