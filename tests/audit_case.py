"""Small data sets under audit, made by hand: nothing is wrong with them but what a test plants."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.audit import audit
from fibrolab.data.manifest import Manifest
from fibrolab.data.splits import Split, holdout

CLASSES = ("F0", "F1")


def look(number: int) -> str:
    """A perceptual hash that is far from every other number's."""
    return np.random.default_rng(number).bytes(32).hex()


def facts_of(contents: list[int], **columns: Any) -> pd.DataFrame:
    """Facts of files that are all of one kind; equal contents are identical files."""
    thumbnails = [np.random.default_rng(9_000 + number).bytes(1024) for number in contents]
    kind = {
        "sha256": [f"bytes {number}" for number in contents],
        "file_sha256": [f"bytes {number}" for number in contents],
        "pixels": [f"pixels {number}" for number in contents],
        "phash": [look(number) for number in contents],
        "thumbnail": thumbnails,
        "n_bytes": [20_000 + number * 7_919 % 5_000 for number in contents],
        "mean": [60 + number % 7 for number in contents],
        "sd": [30 + number % 5 for number in contents],
    }
    same = {"width": 640, "height": 480, "mode": "L", "format": "PNG", "black": 0.2, "identity": ""}
    same |= {"cut_width": 640, "cut_height": 480}
    borders = dict.fromkeys(("border_top", "border_bottom", "border_left", "border_right"), 0.1)
    return pd.DataFrame(kind | columns).assign(
        **{name: value for name, value in (same | borders).items() if name not in columns}
    )


def manifest_of(labels: Any, classes: tuple[str, ...] = CLASSES, **columns: Any) -> Manifest:
    """A manifest of as many samples; each is a patient of its own unless told otherwise."""
    names = [f"s{number}" for number in range(len(labels))]
    table = {
        keys.SAMPLE_ID: names,
        keys.LABEL: labels,
        keys.IMAGE: [f"{name}.png" for name in names],
        keys.PATIENT_ID: [f"p{number}" for number in range(len(labels))],
    }
    return Manifest(pd.DataFrame(table | columns), classes, "toy", Path())


def clean(n: int = 120, seed: int = 0) -> tuple[Manifest, pd.DataFrame]:
    """Patients of one image each, with labels in no order."""
    labels = np.random.default_rng(seed).permutation(np.arange(n) % 2)
    return manifest_of(labels), facts_of(list(range(seed * n, seed * n + n)))


def audited(manifest: Manifest, facts: pd.DataFrame, split: Split | None = None) -> dict[str, Any]:
    """The audit under a split, the default one where none is given."""
    return audit(manifest, {keys.IMAGE: facts}, split or holdout(manifest), manifest.labels, manifest.classes)


def levels(found: dict[str, Any]) -> dict[str, str]:
    """Level of every finding by its key."""
    return {finding["key"]: finding["level"] for finding in found["findings"]}


def sentence(found: dict[str, Any], key: str) -> str:
    """What a finding says, with plain spaces."""
    return next(f["sentence"] for f in found["findings"] if f["key"] == key).replace("\u00a0", " ")
