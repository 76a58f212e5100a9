"""Seconds and peak memory of the audit, part by part.

    python -m benchmarks.audit              # 6,323 images
    python -m benchmarks.audit --images 100000

The images are simulated facts of files, three quarters of which are copies, as in the field's largest public
set; nothing is read from the disk. The peak memory of each part is printed.
"""

import argparse
import time
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from benchmarks.stages import staged
from fibrolab import keys
from fibrolab.data.audit import examine
from fibrolab.data.audit.evidence import Evidence
from fibrolab.data.manifest import Manifest
from fibrolab.data.splits import holdout
from fibrolab.data.survey import THUMBNAIL

CLASSES = ("F0", "F1", "F2", "F3", "F4")
T = TypeVar("T")


def evidence(count: int) -> Evidence:
    """Return facts of images, a quarter of which are distinct, each a group with its copies."""
    rng = np.random.default_rng(0)
    content = rng.integers(0, max(1, count // 4), count)
    names = [f"image{number}.png" for number in range(count)]
    groups = [f"g{number}" for number in content]
    labels = rng.integers(0, 5, content.max() + 1)[content]
    table = pd.DataFrame(
        {keys.SAMPLE_ID: names, keys.GROUP_ID: groups, keys.LABEL: labels, keys.IMAGE: names}
    )
    manifest = Manifest(table, CLASSES, "many", Path())
    surveys = {keys.IMAGE: facts(content)}
    return Evidence(manifest, surveys, holdout(manifest), manifest.labels, CLASSES, thumbnails)


def thumbnails(rows: np.ndarray) -> np.ndarray:
    """Return thumbnails of some rows, uint8 (n, 1024)."""
    return np.random.default_rng(1).integers(0, 256, (len(rows), THUMBNAIL**2), np.uint8)


def facts(content: np.ndarray) -> pd.DataFrame:
    """Return the facts that a survey would find."""
    rng = np.random.default_rng(1)
    several = int(content.max()) + 1
    hashes = [rng.bytes(32).hex() for _ in range(several)]
    measures = (
        "n_bytes",
        "mean",
        "sd",
        "black",
        "border_top",
        "border_bottom",
        "border_left",
        "border_right",
    )
    columns = {name: rng.random(several)[content] for name in measures}
    return pd.DataFrame(columns).assign(
        sha256=[f"bytes {number}" for number in content],
        file_sha256=[f"bytes {number}" for number in content],
        pixels=[f"pixels {number}" for number in content],
        phash=[hashes[number] for number in content],
        width=224,
        height=224,
        cut_width=224,
        cut_height=224,
        mode="L",
        format="JPEG",
        identity="",
        pixel_aspect=1.0,
        profile_shift=0,
        lowest=0,
        highest=255,
        impossible_colours=0.0,
        tiled=0,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=6_323)
    options = parser.parse_args()
    found = staged("facts, made up", lambda: evidence(options.images))
    start = time.perf_counter()
    for part in examine.PARTS:
        staged(part.__name__, lambda part=part: part(found))  # type: ignore[misc]
    print(f"{'all parts':28} {time.perf_counter() - start:8.2f} s")


if __name__ == "__main__":
    main()
