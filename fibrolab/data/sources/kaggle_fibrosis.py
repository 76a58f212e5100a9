"""The Kaggle liver fibrosis set: one folder a METAVIR stage, no patient ids, many copies.

Folder tree (as downloaded):

    ROOT/
      F0/  2,114 files      F1/  861      F2/  793      F3/  857      F4/  1,698

Source: "Liver Histopathology (Fibrosis) Ultrasound Images" on Kaggle, as cited by iLIVER 5(1), 100225, 2026:
kaggle.com/code/houssameddinebhe/liver-histopathology-fibrosis-ultrasound-images/input (the licence is the
one stated there).

What is known of it: 1,536 of the 6,323 files are distinct, the rest are byte-identical copies, up to 18 of
one image; no copy crosses a stage. Stages were not drawn from one source: 640 x 480 grey JPEG (all of F0,
part of F1 and F4) and 449 x 464 RGB PNG (all of F2 and F3, part of F1 and F4), some under a `.jpg` name.
926 of the distinct images carry a copy named `ct{volume}-{frame}.png`, and look simulated from CT. A
random 80/20 split puts a copy of 96 % of its test images into training, or of 94 % where validation takes
a tenth of all. So the group of an image is the cluster of its copies, of its near copies, and of its CT
volume where a name tells it.
"""

import re
from pathlib import Path

import pandas as pd

from fibrolab import keys
from fibrolab.data.duplicates import clusters
from fibrolab.data.manifest import Manifest
from fibrolab.data.survey import readable, survey
from fibrolab.errors import ConfigError, DataError, listing

STAGES = ("F0", "F1", "F2", "F3", "F4")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif"})
_VOLUME = re.compile(r"ct(\d+)-\d+\.", re.IGNORECASE)


def load(*, root: str, cache: str, on_unreadable: str = "error") -> Manifest:
    """Read the tree F0..F4.

    Args:
        root: Folder that holds the stage folders.
        cache: Folder where facts of files are remembered.
        on_unreadable: `error`, or `skip` to leave unreadable files out and say so.

    Raises:
        ConfigError: `on_unreadable` is neither.
        DataError: No such folder, no stage folder, unknown or empty ones, images deeper than in a stage
            folder, or unreadable files.
    """
    if on_unreadable not in ("error", "skip"):
        raise ConfigError(f"data.on_unreadable={on_unreadable} is unknown: error or skip.")
    folder = Path(root).expanduser().absolute()
    files = _files(folder)
    facts = survey(files, Path(cache))
    good, left_out = readable(files, facts, on_unreadable, folder)
    files = [file for file, keep in zip(files, good, strict=True) if keep]
    facts = facts[good]
    names = [file.relative_to(folder).as_posix() for file in files]
    volumes = [match[1] if (match := _VOLUME.match(file.name)) else "" for file in files]
    cluster = clusters(facts["sha256"].tolist(), facts["phash"].tolist(), volumes)
    table = pd.DataFrame(
        {
            keys.SAMPLE_ID: names,
            keys.GROUP_ID: pd.Series(names).groupby(cluster).transform("min"),  # named after its first file
            keys.LABEL: [STAGES.index(file.parent.name) for file in files],
            keys.IMAGE: names,
        }
    )
    return Manifest(table, STAGES, "kaggle_fibrosis", folder, tuple(left_out))


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(
            f"data.root={folder} is not a folder; it must hold stage folders {', '.join(STAGES)}."
        )
    found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    faults = [] if found else ["there is no folder in it"]
    files: list[Path] = []
    for name in found:
        images = _images(folder / name) if name in STAGES else []
        if name not in STAGES:
            faults.append(f"{name}/ is not a stage")
        elif not images:
            faults.append(f"{name}/ holds no image")
        nested = [image for image in images if image.parent.name != name]
        faults += [f"{image.relative_to(folder)} does not lie directly in {name}/" for image in nested]
        files += images
    if faults:
        raise DataError(
            f"data.root={folder} must hold images in stage folders {', '.join(STAGES)} and no others:\n"
            f"{listing(faults)}"
        )
    return files


def _images(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
