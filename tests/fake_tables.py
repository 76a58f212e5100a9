"""The further tables of an evaluation of a fake run, with simulated values."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from fibrolab import keys

LEVELS = ("sample", "patient", "patient max", "patient vote")
RULES = ("half", "youden", "sensitivity", "specificity")
PROPORTIONS = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv")
ENDPOINTS = {"ge_F2": 2, "ge_F3": 3, "ge_F4": 4}


def write(folder: Path, metrics: pd.DataFrame, classes: tuple[str, ...]) -> None:
    """Every table of a run of stages with patients, markers and sites."""
    for name in ("patients", "patients_max", "patients_vote"):
        metrics.to_csv(folder / f"{name}.csv")
    found = {
        "endpoints": endpoints(),
        "calibration": calibration(),
        "conformal": conformal(classes),
        "comparators": comparators(),
        "cohort": cohort(),
        "subgroups": subgroups(),
        "mistakes": mistakes(classes),
        "published": published(),
        "folds": folds(),
    }
    for name, table in found.items():
        table.to_csv(folder / f"{name}.csv", index=False)


def estimate(value: float, method: str, note: str = "", width: float = 0.05) -> dict[str, object]:
    return {"value": value, "low": value - width, "high": value + width, "method": method, "note": note}


def endpoints() -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for level, endpoint in product(LEVELS, ENDPOINTS):
        shared = {"level": level, "endpoint": endpoint}
        area = "logit clustered DeLong" if level == "sample" else "logit DeLong"
        rows.append(shared | {"rule": "", "metric": "auc"} | estimate(0.86, area, width=0.04))
        for rule, metric in product(RULES, (*PROPORTIONS, "lr_plus", "lr_minus", "f1")):
            shared |= {"rule": rule, "threshold": 0.5 if rule == "half" else 0.37, "metric": metric}
            method = "Wilson" if metric in PROPORTIONS else "percentile"
            value = {"lr_plus": 4.2, "lr_minus": 0.31}.get(metric, 0.78)
            found = estimate(value, method)
            if metric == "lr_plus" and rule == "specificity":
                found = estimate(np.nan, "", "no healthy sample is called ill")
            rows.append(shared | found)
    columns = ["level", "endpoint", "rule", "threshold", "metric", "value", "low", "high", "method", "note"]
    return pd.DataFrame(rows, columns=columns)


def calibration() -> pd.DataFrame:
    measures = {"log_loss": 0.91, "brier": 0.48, "ece": 0.081, "slope_ge_F2": 0.74, "intercept_ge_F2": -0.12}
    rows = [
        {"level": level, "probabilities": kind, "temperature": 1.63 if kind == "temperature" else np.nan}
        | {"measure": measure}
        | estimate(value, "percentile", width=0.03)
        for level, kind, (measure, value) in product(
            LEVELS[:2], ("as predicted", "temperature"), measures.items()
        )
    ]
    return pd.DataFrame(rows)


def conformal(classes: tuple[str, ...]) -> pd.DataFrame:
    rows = [
        {"level": level, "alpha": alpha, "stage": stage, "n": 60, "coverage": 0.91 - alpha / 2}
        | {"low": 0.85 - alpha / 2, "high": 0.95 - alpha / 2, "mean_size": 1.8, "alone": 0.4, "note": ""}
        for level, alpha, stage in product(LEVELS[:2], (0.1, 0.2), ("all", *classes))
    ]
    return pd.DataFrame(rows)


def comparators() -> pd.DataFrame:
    rows = []
    for endpoint, marker, arm in product(ENDPOINTS, ("lsm", "apri"), ("marker", "run")):
        shared = {"marker": marker if arm == "marker" else "run", "endpoint": endpoint, "beside": marker}
        shared |= {"n": 90 if marker == "lsm" else 80, "n_positive": 40}
        p = 0.03 if arm == "marker" else np.nan
        rows.append(shared | {"rule": "", "metric": "auc", "p_auc": p} | estimate(0.84, "logit DeLong"))
        for rule in ("published", "fitted") if arm == "marker" else ("youden",):
            source = "Castera 2005" if rule == "published" else "Youden's index on 80 validation patients"
            for metric in ("sensitivity", "specificity", "ppv", "npv", "lr_plus", "lr_minus"):
                part = {"rule": rule, "cutoff": 7.1, "source": source, "metric": metric}
                rows.append(shared | part | estimate(0.8, "Wilson"))
    columns = [
        "marker",
        "endpoint",
        "n",
        "n_positive",
        "rule",
        "cutoff",
        "source",
        "metric",
        "value",
        "low",
        "high",
        "method",
        "p_auc",
        "note",
        "beside",
    ]
    return pd.DataFrame(rows, columns=columns)


def cohort() -> pd.DataFrame:
    rows = [
        ("patients", "n", "140", "30", "30", np.nan, "", ""),
        ("age_years", "median (IQR)", "54 (41–63)", "52 (40–60)", "55 (42–64)", 0.41, "Mann-Whitney", ""),
        ("sex", "F, n (%)", "60 (43 %)", "14 (47 %)", "12 (40 %)", 0.84, "chi-squared", ""),
        ("scanner", "convex-a, n (%)", "140 (100 %)", "30 (100 %)", "30 (100 %)", np.nan, "", "one value"),
    ]
    names = ("variable", "statistic", *keys.PARTITIONS, "p", "test_name", "note")
    return pd.DataFrame(rows, columns=list(names))


def subgroups() -> pd.DataFrame:
    rows = []
    for variable, value in (("site", "north"), ("site", "007"), ("sex", "F"), ("age", "not known")):
        shared = {"variable": variable, "value": value, "n": 150, "groups": 50}
        for metric, method in (("accuracy", "clustered Wilson"), ("macro_auc", "percentile")):
            found = estimate(0.7, method)
            if value == "not known":
                found = estimate(np.nan, "", "one group only")
            rows.append(shared | {"metric": metric, "estimate": found.pop("value")} | found)
    return pd.DataFrame(rows)


def networks(repeats: int = 1, folds: int = 3) -> pd.DataFrame:
    """`networks.csv` of a run of several trainings."""
    places = [(repeat, fold) for repeat in range(repeats) for fold in range(folds)]
    return pd.DataFrame(
        {
            "repeat": [repeat for repeat, _ in places],
            "fold": [fold for _, fold in places],
            "seed": [7 + repeat for repeat, _ in places],
            "run": [f"run{number}" for number, _ in enumerate(places)],
            "train": 1234,
            "test": 60,
            "checkpoint": [f"repeat{repeat}_fold{fold}.ckpt" for repeat, fold in places],
        }
    )


def folds(repeats: int = 1, folds: int = 3) -> pd.DataFrame:
    """`folds.csv`: the accuracy and an AUC of each network, .5 and more, then mean, SD and interval."""
    rows: list[dict[str, object]] = []
    for metric, of in (("accuracy", ""), ("auc", "ge_F2")):
        known = {"metric": metric, "of": of, "note": ""}
        for number, row in networks(repeats, folds).iterrows():
            rows.append(
                known | {"repeat": row["repeat"], "fold": row["fold"], "value": 0.5 + 0.1 * number, "n": 60}
            )
        rows.append(known | {"value": 0.6, "sd": 0.1, "low": 0.4, "high": 0.8, "method": "t", "n": len(rows)})
    return pd.DataFrame(rows).astype({"repeat": "Int64", "fold": "Int64"})


def published() -> pd.DataFrame:
    rows = [{"metric": "accuracy", "n": 102, "n_positive": np.nan} | estimate(0.9, "Wilson")]
    return pd.DataFrame(rows)


def mistakes(classes: tuple[str, ...]) -> pd.DataFrame:
    n = 40
    return pd.DataFrame(
        {
            keys.SAMPLE_ID: [f"{i:04d}" for i in range(n)],
            keys.PATIENT_ID: [f"{i // 3:03d}" for i in range(n)],
            "true": classes[-1],
            "predicted": classes[0],
            "probability": np.linspace(0.99, 0.4, n),
            "distance": len(classes) - 1,
        }
    )
