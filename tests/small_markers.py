"""A table of patients with markers and without pictures; stiffness and serum values depend on the stage."""

from pathlib import Path

import numpy as np
import pandas as pd

from fibrolab import keys


def patients(n: int = 120, seed: int = 0) -> pd.DataFrame:
    """Patients P000 .. with a stage, LSM, serum values, and a column `bilirubin` that knows nothing."""
    rng = np.random.default_rng(seed)
    stage = np.arange(n) % 5
    return pd.DataFrame(
        {
            keys.PATIENT_ID: [f"P{number:03}" for number in range(n)],
            keys.LABEL: [f"F{each}" for each in stage],
            keys.LSM_KPA: np.exp(1.5 + 0.35 * stage + rng.normal(0, 0.35, n)).round(1),
            keys.AGE_YEARS: rng.integers(30, 70, n),
            keys.SEX: rng.choice(["F", "M"], n),
            keys.AST_U_L: np.exp(3.5 + 0.15 * stage + rng.normal(0, 0.3, n)).round(),
            keys.AST_ULN_U_L: 40,
            keys.ALT_U_L: np.exp(3.6 + rng.normal(0, 0.3, n)).round(),
            keys.PLATELETS_1E9_L: (260 - 20 * stage + rng.normal(0, 50, n)).clip(40).round(),
            "bilirubin": rng.lognormal(2.5, 0.4, n).round(1),
        }
    )


def staged_by(table: pd.DataFrame, cutoffs: tuple[float, ...] = (6, 7.1, 9.2, 13)) -> pd.DataFrame:
    """The same patients, their label made from the stiffness by cut-offs."""
    stages = np.searchsorted(cutoffs, table[keys.LSM_KPA], side="right")
    return table.assign(**{keys.LABEL: [f"F{stage}" for stage in stages]})


def written(table: pd.DataFrame, folder: Path, name: str = "patients.csv") -> Path:
    """Write the table, and return its path."""
    table.to_csv(folder / name, index=False)
    return folder / name
