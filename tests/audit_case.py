"""Small data sets for tests of the audit, without faults except those that a test adds."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.audit import audit
from fibrolab.data.audit.evidence import Thumbnails
from fibrolab.data.manifest import Manifest
from fibrolab.data.splits import Split, holdout

CLASSES = ("F0", "F1")


def look(number: int) -> str:
    """Return a perceptual hash that is far from that of every other number."""
    return np.random.default_rng(number).bytes(32).hex()


def facts_of(contents: list[int], **columns: Any) -> pd.DataFrame:
    """Return the survey of files of one kind; equal contents are identical files."""
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
    same |= {"pixel_aspect": 1.0, "profile_shift": 0}
    same |= {"lowest": 0, "highest": 240, "impossible_colours": 0.0, "tiled": 0}
    borders = dict.fromkeys(("border_top", "border_bottom", "border_left", "border_right"), 0.1)
    return pd.DataFrame(kind | columns).assign(
        **{name: value for name, value in (same | borders).items() if name not in columns}
    )


def thumbnails_of(facts: pd.DataFrame) -> Thumbnails:
    """Return a function of rows that reads the thumbnails of `facts_of`."""
    return lambda rows: np.stack([np.frombuffer(facts["thumbnail"][row], np.uint8) for row in rows])


def manifest_of(labels: Any, classes: tuple[str, ...] = CLASSES, **columns: Any) -> Manifest:
    """Return a manifest with one sample per label; by default each is another patient."""
    names = [f"s{number}" for number in range(len(labels))]
    table = {
        keys.SAMPLE_ID: names,
        keys.LABEL: labels,
        keys.IMAGE: [f"{name}.png" for name in names],
        keys.PATIENT_ID: [f"p{number}" for number in range(len(labels))],
    }
    return Manifest(pd.DataFrame(table | columns), classes, "toy", Path())


def clean(n: int = 120, seed: int = 0) -> tuple[Manifest, pd.DataFrame]:
    """Return patients with one image each, with labels in random order."""
    labels = np.random.default_rng(seed).permutation(np.arange(n) % 2)
    return manifest_of(labels), facts_of(list(range(seed * n, seed * n + n)))


def audited(
    manifest: Manifest,
    facts: pd.DataFrame,
    split: Split | None = None,
    thumbnails: Thumbnails | None = None,
) -> dict[str, Any]:
    """Return the audit under a split, None for the default; without `thumbnails` those of `facts_of`."""
    split, shown = split or holdout(manifest), thumbnails or thumbnails_of(facts)
    return audit(manifest, {keys.IMAGE: facts}, split, manifest.labels, manifest.classes, shown)


def levels(found: dict[str, Any]) -> dict[str, str]:
    """Return the level of every finding by its key."""
    return {finding["key"]: finding["level"] for finding in found["findings"]}


def sentence(found: dict[str, Any], key: str) -> str:
    """Return the sentence of a finding, with plain spaces."""
    return next(f["sentence"] for f in found["findings"] if f["key"] == key).replace("\u00a0", " ")
