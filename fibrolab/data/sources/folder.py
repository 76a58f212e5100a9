"""Any tree with one folder per class: the label is the folder, the sample id is the file's path.

    ROOT/
      normal/  a.png  b.dcm  patient-07/0001.jpg     at any depth
      fatty/   c.png  IM000012  d.mp4                the first bytes of a file tell its format

Folders for a published split may lie above them, in any case: `Train/normal/a.png`, `Val/..`, `Test/..`. The
column `split` then names the folder of each sample, and `split=given` uses it.

Pictures, DICOM files and films are samples. Hidden files, thumbnails and recycle bins of file servers
(`WASTE`), and the DICOMDIR of a disc, which has no pixels, are ignored; all other files, and those that lie
beside the class folders, are named in the log and in the audit.
"""

import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from fibrolab import keys
from fibrolab.data.formats.recognition import HEAD, SUFFIXES, foreign, kind_of
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import MIDDLE
from fibrolab.data.progress import track
from fibrolab.data.readers import describe, kind_of_node, read_bytes
from fibrolab.data.splits import PARTITION_WORDS
from fibrolab.data.tables import is_formula
from fibrolab.errors import ConfigError, DataError, UnreadableImageError, listing
from fibrolab.processes import cores

FIRST, ALL = "first", "all"
# Files and folders that file servers, archives and systems add to those of the user, in lower case.
WASTE = frozenset(
    {
        *(
            "@eadir",
            "@tmp",
            "@sharebin",
            "@recycle",
            "@recently-snapshot",
            "#recycle",
            "#snapshot",
            "~snapshot",
        ),
        *("$recycle.bin", "recycler", "recycled", "recycle bin", "lost+found", "found.000", "_gsdata_"),
        *("network trash folder", "temporary items"),
        *("system volume information", "__macosx", "dicomdir", "thumbs.db", "ehthumbs.db", "desktop.ini"),
    }
)
_log = logging.getLogger(__name__)


def load(
    *,
    root: str | Path,
    classes: Sequence[str] | None = None,
    patient: str | None = None,
    take_frames: str | int | None = None,
) -> Manifest:
    r"""Read a tree.

    Args:
        root: Folder that holds the class folders, or folders of a split with the class folders in each.
        classes: Names of the class folders in the order of the labels; None for all folders in natural order
            (F2 before F10).
        patient: Regular expression that finds the patient in a file's path below the root (`/` between
            folders): by its group `patient`, or its first group, such as `(P\d+)_`.
        take_frames: Frame of each film that is the sample: `first`, `middle`, or its number from 0; `all`
            makes a sample of each frame, which stay together in a split as cuts of one file do. None refuses
            a file of several frames.

    Raises:
        ConfigError: The pattern is not a regular expression, or has no group; no such frame.
        DataError: No such folder, folders that do not fit the classes, or paths without a patient.
    """
    folder = Path(root).expanduser().absolute()
    frame = _frame(take_frames)
    parts = _partitions(folder)
    table, found, left_out = _read_parts(folder, parts, classes) if parts else read_tree(folder, classes)
    if patient is not None:
        table[keys.PATIENT_ID] = _patients(table[keys.IMAGE].tolist(), patient)
    if frame == ALL:
        table = _with_every_frame(table, folder)
    elif frame in ("", "0", MIDDLE):  # which a still has too
        table = table.assign(**{keys.FRAME: frame}) if frame else table
    else:
        table[keys.FRAME] = [frame if count > 1 else "" for count in _frame_counts(table, folder)]
    return Manifest(table, found, folder.name, folder, left_out)


def _partitions(folder: Path) -> list[str]:
    """Return the folders of a published split below a root; none where the root holds class folders.

    Raises:
        DataError: Other folders lie beside them.
    """
    if not folder.is_dir():
        return []
    folders = _folders(folder)
    parts = [name for name in folders if name.casefold() in PARTITION_WORDS]
    if len({PARTITION_WORDS[name.casefold()] for name in parts}) < 2:
        return []
    if others := [name for name in folders if name not in parts]:
        raise DataError(
            f"data.root={folder} holds folders of a split, {', '.join(parts)}, and others beside them: move "
            f"{', '.join(others)} out of it."
        )
    return parts


def _read_parts(
    folder: Path, parts: Sequence[str], classes: Sequence[str] | None
) -> tuple[pd.DataFrame, tuple[str, ...], tuple[str, ...]]:
    """Read the class folders in each folder of a split, which must hold the same ones; see `read_tree`."""
    names = sorted({name for part in parts for name in _folders(folder / part)}, key=_natural)
    expected = names if classes is None else list(map(str, classes))
    tables, faults = [], []
    left_out: list[str] = []
    for part in parts:
        try:
            table, _, left = read_tree(folder / part, expected)
        except DataError as fault:
            faults.append(str(fault))
            continue
        paths = f"{part}/" + table[keys.IMAGE]
        columns: dict[str, Any] = {keys.SAMPLE_ID: paths, keys.IMAGE: paths, keys.GIVEN: part}
        tables.append(table.assign(**columns))
        left_out += [f"{part}/{sentence}" for sentence in left]
    if faults:
        raise DataError("\n".join(faults))
    left_out = _beside(folder) + left_out
    _log.info("The folders %s are a split: split=given uses it.", ", ".join(parts))
    return pd.concat(tables, ignore_index=True), tuple(expected), tuple(left_out)


def _folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder in natural order, without hidden ones and `WASTE`."""
    return sorted(filter(_visible, next(os.walk(folder, onerror=_unreadable))[1]), key=_natural)


def _frame(take_frames: str | int | None) -> str:
    """Return the cell of the manifest that names a frame; empty for none.

    Raises:
        ConfigError: See `load`.
    """
    given = "" if take_frames is None else str(take_frames)
    if given not in ("", FIRST, MIDDLE, ALL) and not given.isdecimal():
        raise ConfigError(
            f"data.take_frames={given} is not allowed: give {FIRST}, {MIDDLE}, {ALL}, a number from 0, or "
            "null."
        )
    return "0" if given == FIRST else given


def _with_every_frame(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Return a row for each frame of each file of several frames, named `PATH#FRAME`."""
    counts = _frame_counts(table, folder)
    frames = [number for count in counts for number in (map(str, range(count)) if count > 1 else [""])]
    every = table.loc[table.index.repeat(counts)].reset_index(drop=True).assign(**{keys.FRAME: frames})
    several = every[keys.FRAME] != ""
    names = every[keys.SAMPLE_ID].mask(several, every[keys.SAMPLE_ID] + "#" + every[keys.FRAME])
    return every.assign(**{keys.SAMPLE_ID: names})


def _frame_counts(table: pd.DataFrame, folder: Path) -> list[int]:
    """Return the number of frames of each file."""
    paths = [folder / name for name in table[keys.IMAGE]]
    with ThreadPoolExecutor(cores()) as pool:
        return list(track(pool.map(_count_frames, paths), total=len(paths), task="Counting frames"))


def _count_frames(path: Path) -> int:
    """Return the number of frames of a file; 1 of one that cannot be read, which the survey reports."""
    try:
        return describe(read_bytes(path), path).frames
    except UnreadableImageError:
        return 1


def read_tree(
    folder: Path, classes: Sequence[str] | None = None
) -> tuple[pd.DataFrame, tuple[str, ...], tuple[str, ...]]:
    """Read the samples of a tree by class and path, and its classes.

    Args:
        folder: The root.
        classes: Names that the folders must have; None takes them as they are.

    Returns:
        `sample_id` and `image` (the path below the root), `label`; the names of the labels; sentences on the
        files that are no samples.

    Raises:
        DataError: See `load`; all faults of the tree at once.
    """
    if not folder.is_dir():
        raise DataError(f"data.root={folder} is not a folder; it must hold one folder per class.")
    folders = _folders(folder)
    expected = folders if classes is None else list(map(str, classes))
    faults = _folder_faults(folder, folders, expected, classes is not None)
    found, left_out = [], _beside(folder)
    for label, name in enumerate(name for name in expected if name in folders):
        paths: list[str] = []
        for path in files_below(folder / name):
            below = path.relative_to(folder).as_posix()
            if what := _no_sample(path):
                left_out.append(f"{_printable(below)}: {what}")
            else:
                paths.append(below)
        faults += _image_faults(name, paths, expected)
        found += [(path, label, path) for path in paths]
    if faults:
        only = "" if classes is None else f" {', '.join(expected)} and no others"
        raise DataError(f"data.root={folder} must hold images in class folders{only}:\n{listing(faults)}")
    if left_out:
        _log.warning(
            "%d file(s) under %s are no samples:\n%s",
            len(left_out),
            folder,
            listing(left_out),
        )
    table = pd.DataFrame(found, columns=[keys.SAMPLE_ID, keys.LABEL, keys.IMAGE])
    return table, tuple(expected), tuple(left_out)


def _beside(folder: Path) -> list[str]:
    """Return sentences on the files of a folder beside the folders in it, without hidden ones and `WASTE`."""
    names = sorted(filter(_visible, next(os.walk(folder, onerror=_unreadable))[2]))
    return [
        f"{_printable(name)}: {_no_sample(folder / name) or 'a picture or film'} beside the class folders"
        for name in names
    ]


def _folder_faults(folder: Path, folders: Sequence[str], expected: Sequence[str], named: bool) -> list[str]:
    """List folders that do not fit the classes, which are `named` by the user or all folders."""
    if not folders:
        return ["there is no folder in it"]
    if PARTITION_WORDS.keys() >= {name.lower() for name in folders}:
        return [f"{', '.join(folders)} are partitions, not classes; give one of them as the root"]
    faults = [
        f"{name}/ is not one of the classes: move it out of the root"
        for name in folders
        if name not in expected
    ]
    faults += [] if named else _extra_folders(folder, folders)
    faults += [] if named else _same_names(folders)
    faults += [
        f"{name}/ begins like a formula, which a spreadsheet would run"
        for name in folders
        if is_formula(name)
    ]
    return faults + [f"there is no folder {name}/" for name in expected if name not in folders]


def _same_names(folders: Sequence[str]) -> Iterator[str]:
    """Name folders that differ only in case or blanks: copies of trees from Windows and Linux make such."""
    same: dict[str, list[str]] = {}
    for name in folders:
        same.setdefault("".join(name.split()).casefold(), []).append(f"{name}/")
    for names in same.values():
        if len(names) > 1:
            yield f"{' and '.join(names)} differ only in case or blanks: join them, if they are one class"


def _extra_folders(folder: Path, folders: Sequence[str]) -> Iterator[str]:
    """Name folders beside the class folders that hold a tree of the same classes, such as masks."""
    for name in folders:
        inner = sorted(set(next(os.walk(folder / name))[1]) & set(folders), key=_natural)
        if len(inner) > 1:
            classes = [other for other in folders if other != name]
            yield (
                f"{name}/ is an extra folder beside the class folders, since it holds {', '.join(inner)} "
                f"itself: move it out of the root, if the classes are {', '.join(classes)}"
            )


def _image_faults(name: str, paths: Sequence[str], classes: Sequence[str]) -> list[str]:
    """List the faults of one class: no image, another class within it, or names that are not UTF-8."""
    if not paths:
        return [f"{name}/ holds no image"]
    inner = Counter(
        "/".join(parts[: at + 1])
        for path in paths
        for parts in [path.split("/")[:-1]]
        for at in range(1, len(parts))
        if parts[at] in classes
    )
    faults = [
        f"{folder}/ is a class folder in a class folder: {inner[folder]} image(s)" for folder in sorted(inner)
    ]
    return faults + [f"the name {path!a} is not UTF-8" for path in paths if not is_utf8(path)]


def files_below(top: Path) -> list[Path]:
    """Return all files below a folder, sorted, but hidden ones and `WASTE`.

    No folder is entered twice, even with circular links.
    """
    files: list[Path] = []
    entered = set()
    for folder, folders, names in os.walk(top, onerror=_unreadable, followlinks=True):
        stats = Path(folder).stat()
        if (stats.st_dev, stats.st_ino) in entered:
            folders.clear()
            continue
        entered.add((stats.st_dev, stats.st_ino))
        folders[:] = sorted(filter(_visible, folders))
        files += [Path(folder, name) for name in names if _visible(name)]
    return sorted(files)


def _no_sample(path: Path) -> str:
    """Return what a file is that is neither a picture nor a film; empty for a sample.

    A file with the suffix of one is a sample without being opened: if it is damaged, the survey says so.
    """
    if path.suffix.lower() in SUFFIXES:
        return ""
    try:
        stats = path.stat()
        if not stat.S_ISREG(stats.st_mode):  # to open a pipe would wait for its writer
            return kind_of_node(stats)
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    return "" if kind_of(head) else foreign(head)


def _unreadable(error: OSError) -> None:
    """Refuse a folder that cannot be opened, which `os.walk` would otherwise skip."""
    raise DataError(f"The folder {error.filename} cannot be read ({error.strerror}).") from error


def _visible(name: str) -> bool:
    """Return whether a name is neither hidden nor `WASTE`."""
    return not name.startswith(".") and name.lower() not in WASTE


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts 2 before 10: digits by value, everything else as text."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]


def is_utf8(name: str) -> bool:
    """Return whether a name as Python reads it is UTF-8 on the disk."""
    return name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)


def _printable(name: str) -> str:
    return name if is_utf8(name) else ascii(name)


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
