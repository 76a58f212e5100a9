"""An audit as the engine writes it, with made-up numbers: what its page is tested on."""

import json
from pathlib import Path
from typing import Any

from fibrolab import keys

CLASSES = ("F0", "F1", "F2", "F3", "F4")
TRAINING = (1482, 603, 597, 626, 1190)
VALIDATION = (316, 129, 98, 122, 254)
TEST = (316, 129, 98, 109, 254)


def write(folder: Path, found: dict[str, Any]) -> None:
    """Put it where an audit puts it."""
    (folder / keys.AUDIT_FILE).write_text(json.dumps(found))


def audit(**changes: Any) -> dict[str, Any]:
    """A failing audit, with something in every part."""
    return {
        "verdict": "fail",
        "name": "kaggle_fibrosis",
        "samples": 6323,
        "files": 1536,
        "images": 1536,
        "groups": 367,
        "patients": 0,
        "classes": dict(zip(CLASSES, (2114, 861, 793, 857, 1698), strict=True)),
        "partitions": {
            name: dict(zip(CLASSES, counts, strict=True))
            for name, counts in zip(keys.PARTITIONS, (TRAINING, VALIDATION, TEST), strict=True)
        },
        "exact_copies": 4787,
        "pixel_copies": 4787,
        "near_copies": 353,
        "conflicting_copies": 0,
        "leak": {"exact": 0.938, "near": 0.94, "groups": 300},
        **found(),
        **measured(),
        **changes,
    }


def found() -> dict[str, Any]:
    """One finding of each level."""
    findings = [
        {"key": "exact_leak", "level": "fail", "sentence": "93.8\u00a0% of the test images leak."},
        {"key": "label_slices", "level": "warning", "sentence": "The labels look assigned in blocks."},
        {"key": "near_copies", "level": "note", "sentence": "353 distinct images are in 90 clusters."},
    ]
    return {"findings": findings, "warnings": [finding["sentence"] for finding in findings[:2]]}


def measured() -> dict[str, Any]:
    """Measurements of the parts of the audit."""
    spread = {"mean": 0.956, "sd": 0.007}
    on_this_split = {"exact": 0.938, "near": 0.94, "groups": 0.8, "patients": None, "lookup": 0.939}
    random = dict.fromkeys(on_this_split, spread) | {"patients": None}
    cluster = {
        "kind": "identical",
        "size": 18,
        "labels": {"F0": 12, "F2": 6},
        "patients": 0,
        "partitions": ["train", "test"],
        "samples": [f"F0/a{k}.jpg" for k in range(12)],
        "sample_labels": ["F0", "F2"] * 6,
        "sample_partitions": ["train", "test"] * 6,
    }
    summary = {"clusters": 1438, "members": 6225, "largest": [18, 15], "conflicts": 0}
    return {
        "baselines": {"majority": 0.349, "nearest_neighbour": 0.636},
        "protocols": {
            "run": {
                "majority": baseline(0.349, 0.15, 0.57),
                "nearest_neighbour": baseline(0.636, 0.58, 0.70),
            },
            "random": {"majority": baseline(0.334), "nearest_neighbour": baseline(0.982)},
            "distinct": {"majority": baseline(0.206), "nearest_neighbour": baseline(0.686)},
            "grouped": {"majority": baseline(0.161), "nearest_neighbour": baseline(0.439)},
        },
        "baselines_on": 6323,
        "leakage": {"run": on_this_split, "random": random, "literature": random, "draws": 20},
        "copies": dict.fromkeys(("bytes", "pixels", "near"), summary),
        "clusters": [cluster, cluster | {"kind": "near", "patients": 3, "labels": {"F0": 18}}],
        "confounding": {
            "border": {"v": 0.45, "p": 1e-4, "values": 23, "n": 367},
            "site": {"v": 0.0, "p": 0.62, "values": 2, "n": 367},
        },
        "label_order": [
            {"series": "ct#-#.png", "n": 926, "runs": 4, "expected": 669.3, "z": -50.4, "p": 0.0}
        ],
        "skipped": {
            "classes": {"F0": {"samples": 100, "skipped": 41}, "F2": {"samples": 90, "skipped": 0}},
            "v": 0.49,
            "p": 1e-4,
            "n": 190,
        },
        "left_out": ["F2/b201.jpg: zero bytes"],
        "small_classes": [{"class": "F2", "partition": "test", "groups": 1}],
        "patients_with_two_labels": 0,
        "implausible": ["row 3 (p7): platelets_1e9_l 215000 looks like a count per µL"],
        "identity": {"PatientName": 12},
    }


def baseline(accuracy: float, low: float | None = None, high: float | None = None) -> dict[str, float | None]:
    """One baseline; where there is an interval, its ends."""
    value = {"accuracy": accuracy, "balanced_accuracy": 0.2, "macro_auc": 0.5}
    return value if low is None else value | {"low": low, "high": high}
