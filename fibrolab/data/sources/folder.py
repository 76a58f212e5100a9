"""Any tree with one folder per class: the label is the folder, the sample id is the file's path.

    ROOT/
      normal/  a.png  b.dcm  patient-07/0001.jpg     at any depth
      fatty/   c.png  IM000012                       DICOM is recognised by its content

Image and DICOM files are samples. Hidden files, and the DICOMDIR of a disc, which has no pixels, are ignored;
other files are counted in the log.
"""

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fibrolab import keys
from fibrolab.data.manifest import Manifest
from fibrolab.data.readers import KINDS
from fibrolab.data.tables import is_formula
from fibrolab.errors import ConfigError, DataError, listing

_SUFFIXES = frozenset(suffix for kind in KINDS for suffix in kind.still_suffixes)
_PARTITIONS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
_log = logging.getLogger(__name__)


def load(*, root: str | Path, classes: Sequence[str] | None = None, patient: str | None = None) -> Manifest:
    r"""Read a tree.

    Args:
        root: Folder that holds the class folders.
        classes: Names of the class folders in the order of the labels; None for all folders in natural order
            (F2 before F10).
        patient: Regular expression that finds the patient in a file's path below the root (`/` between
            folders): by its group `patient`, or its first group, such as `(P\d+)_`.

    Raises:
        ConfigError: The pattern is not a regular expression, or has no group.
        DataError: No such folder, folders that do not fit the classes, or paths without a patient.
    """
    folder = Path(root).expanduser().absolute()
    table, found = read_tree(folder, classes)
    if patient is not None:
        table[keys.PATIENT_ID] = _patients(table[keys.IMAGE].tolist(), patient)
    return Manifest(table, found, folder.name, folder)


def read_tree(folder: Path, classes: Sequence[str] | None = None) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read the samples of a tree by class and path, and its classes.

    Args:
        folder: The root.
        classes: Names that the folders must have; None takes them as they are.

    Returns:
        `sample_id` and `image` (the path below the root), `label`; the names of the labels.

    Raises:
        DataError: See `load`; all faults of the tree at once.
    """
    if not folder.is_dir():
        raise DataError(f"data.root={folder} is not a folder; it must hold one folder per class.")
    folders = sorted(filter(_visible, next(os.walk(folder, onerror=_unreadable))[1]), key=_natural)
    expected = folders if classes is None else list(map(str, classes))
    faults = _folder_faults(folders, expected)
    found, others = [], []
    for label, name in enumerate(name for name in expected if name in folders):
        images, other_files = _files(folder / name)
        paths = [path.relative_to(folder).as_posix() for path in images]
        faults += _image_faults(name, paths, expected)
        found += [(path, label, path) for path in paths]
        others += other_files
    if faults:
        only = "" if classes is None else f" {', '.join(expected)} and no others"
        raise DataError(f"data.root={folder} must hold images in class folders{only}:\n{listing(faults)}")
    if others:
        named = ", ".join(str(path.relative_to(folder)) for path in others[:6])
        _log.warning("%d file(s) under %s are not images by name or content: %s", len(others), folder, named)
    return pd.DataFrame(found, columns=[keys.SAMPLE_ID, keys.LABEL, keys.IMAGE]), tuple(expected)


def _folder_faults(folders: Sequence[str], expected: Sequence[str]) -> list[str]:
    if not folders:
        return ["there is no folder in it"]
    if _PARTITIONS.issuperset(name.lower() for name in folders):
        return [f"{', '.join(folders)} are partitions, not classes; give one of them as the root"]
    unknown = [f"{name}/ is not one of the classes" for name in folders if name not in expected]
    unknown += [
        f"{name}/ begins like a formula, which a spreadsheet would run"
        for name in folders
        if is_formula(name)
    ]
    return unknown + [f"there is no folder {name}/" for name in expected if name not in folders]


def _image_faults(name: str, paths: Sequence[str], classes: Sequence[str]) -> list[str]:
    """List the faults of one class: no image, another class within it, or names that are not UTF-8."""
    if not paths:
        return [f"{name}/ holds no image"]
    inner = {path for path in paths if not set(path.split("/")[1:-1]).isdisjoint(classes)}
    faults = [f"{path} is in two class folders" for path in sorted(inner)]
    return faults + [f"the name {path!a} is not UTF-8" for path in paths if not _is_utf8(path)]


def files_below(top: Path) -> list[Path]:
    """Return all files below a folder but hidden ones, sorted; no folder is entered twice."""
    images, others = _files(top)
    return sorted([*images, *others])


def _files(top: Path) -> tuple[list[Path], list[Path]]:
    """List images below a folder, and other files; no folder is entered twice, even with circular links."""
    images: list[Path] = []
    others: list[Path] = []
    entered = set()
    for folder, folders, names in os.walk(top, onerror=_unreadable, followlinks=True):
        stat = Path(folder).stat()
        if (stat.st_dev, stat.st_ino) in entered:
            folders.clear()
            continue
        entered.add((stat.st_dev, stat.st_ino))
        folders[:] = sorted(filter(_visible, folders))
        for path in (Path(folder, name) for name in names if _visible(name)):
            (images if path.suffix.lower() in _SUFFIXES or _is_dicom(path) else others).append(path)
    return sorted(images), sorted(others)


def _unreadable(error: OSError) -> None:
    """Refuse a folder that cannot be opened, which `os.walk` would otherwise skip."""
    raise DataError(f"The folder {error.filename} cannot be read ({error.strerror}).") from error


def _is_dicom(path: Path) -> bool:
    """Return whether a file has DICOM's prefix (PS3.10, 7.1): scanners export it under any name."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _visible(name: str) -> bool:
    """Return whether a name is neither hidden nor added by an archive of macOS or a disc of DICOM files."""
    return not name.startswith(".") and name not in ("__MACOSX", "DICOMDIR")


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts 2 before 10: digits by value, everything else as text."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]


def _is_utf8(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def _patients(paths: Sequence[str], pattern: str) -> list[str]:
    """Return the patient found in each path."""
    try:
        search = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"data.patient={pattern} is not a regular expression: {error}.") from None
    if not search.groups:
        raise ConfigError(
            f"data.patient={pattern} has no group; put the part for the patient in brackets, such as "
            r"(P\d+)_."
        )
    group = "patient" if "patient" in search.groupindex else 1
    found = [match[group] if (match := search.search(path)) else "" for path in paths]
    without = [path for path, name in zip(paths, found, strict=True) if not name]
    if without:
        raise DataError(
            f"data.patient={pattern} finds no patient in {len(without)} of {len(paths)} paths:\n"
            f"{listing(without)}"
        )
    return found
