"""Manifest: the table of a data set, one row per sample, checked once when it is made."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data import clinical
from fibrolab.data.fault_sentences import cell_faults, empty_cells, refuse, rows_named
from fibrolab.data.media import AS_STATED, MIDDLE, Decode, Media, View
from fibrolab.data.requirements import Needs
from fibrolab.errors import DataError

_SUSPICIOUS = re.compile(r"^/|^[A-Za-z]:|\\|\.\.|\x00")  # in a path: whatever may lead out of the root
_IDENTITY = (keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.VISIT_ID, keys.LABEL)
_TEXT = (keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.VISIT_ID, keys.SITE, keys.SCANNER)
PATHS = (keys.IMAGE, keys.ELASTOGRAM, keys.CLIP, keys.MASK, keys.TRUE_MASK)
_OPTIONAL_TEXT = (*PATHS, keys.FRAME, keys.ROI, keys.ELASTOGRAM_ROI)
# Columns with the frame and the rectangle of each modality's file.
_VIEWS = {
    keys.IMAGE: (keys.FRAME, keys.ROI),
    keys.ELASTOGRAM: (None, keys.ELASTOGRAM_ROI),
    keys.CLIP: (None, None),
}
UNLABELLED_CLASS = "unlabelled"  # the class of samples without labels, where none is needed
_SHOWN = (keys.IMAGE, keys.CLIP, keys.ELASTOGRAM)  # the first that a sample has represents it


@dataclass(frozen=True)
class Manifest:
    """The samples of a data set, their classes and where their files are.

    Attributes:
        table: One row per sample, columns named as in `fibrolab.keys`, checked by `validated`.
        classes: Names of the labels; `label` is an index into them.
        name: Name of the data set.
        root: Folder that the paths in the table are relative to.
        left_out: Sentences on files that are no samples, or were skipped as unreadable.
        best_accuracy: For synthetic data: the expected accuracy that no model can exceed, by its inputs.
        ids_key: Identifies the secret by which the ids are hashed (`fibrolab.privacy`); empty for plain ids.
        mask_root: Folder that the paths of masks are relative to; None for `root`.
        masks_from: Origin of the masks in words, if they are pseudo-masks; empty for true masks.
        pictured: Whether every sample must have a file; False for a job that reads no pixels.
        skipped: Label and patient of the samples that were skipped as unreadable.
        decode: Corrections of what the files of images, elastograms and clips state about their pixels.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    name: str
    root: Path
    left_out: tuple[str, ...] = ()
    best_accuracy: Mapping[str, float] = field(default_factory=dict)
    ids_key: str = ""
    mask_root: Path | None = None
    masks_from: str = ""
    pictured: bool = True
    skipped: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[keys.LABEL, keys.PATIENT_ID]))
    decode: Decode = AS_STATED

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", validated(self.table, self.classes, self.name, self.pictured))

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labels(self) -> np.ndarray:
        """Class index of every sample, int64 (N,); `keys.UNLABELLED` where it is to be predicted."""
        return self.table[keys.LABEL].to_numpy(np.int64)

    @property
    def groups(self) -> np.ndarray:
        """Group of every sample, strings (N,)."""
        return self.table[keys.GROUP_ID].to_numpy(object)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities (image, elastogram, clip) that every sample has."""
        return tuple(column for column in _VIEWS if self.has(column))

    @property
    def partly(self) -> tuple[str, ...]:
        """Modalities that some samples have and others lack."""
        return tuple(
            column for column in _VIEWS if self.present(column).any() and not self.present(column).all()
        )

    def present(self, column: str) -> np.ndarray:
        """Return which samples have a value in a column, bool (N,)."""
        if column not in self._present:
            missing = column not in self.table
            self._present[column] = np.zeros(len(self), bool) if missing else self._given(column)
            self._present[column].flags.writeable = False
        return self._present[column]

    def _given(self, column: str) -> np.ndarray:
        return (self.table[column] != "").to_numpy(bool, copy=True)

    @cached_property
    def _present(self) -> dict[str, np.ndarray]:
        """Return the arrays of `present` that were asked for before, by column."""
        return {}

    def has(self, column: str) -> bool:
        """Return whether every sample has a value in a column."""
        return bool(self.present(column).all())

    def media(self, column: str = keys.IMAGE, rows: np.ndarray | None = None) -> list[Media]:
        """Return one modality of every sample: its file, and the part of the file that is used.

        Args:
            column: The modality.
            rows: Samples to return, bool (N,); None for all.

        Raises:
            DataError: One of these samples lacks the modality.
        """
        chosen = np.ones(len(self), bool) if rows is None else rows
        if (lacking := chosen & ~self.present(column)).any():
            raise DataError(
                f"The manifest of '{self.name}' has no {column} for "
                f"{rows_named(self.table.loc[lacking, keys.SAMPLE_ID], 'sample')}; every sample has: "
                f"{' and '.join(self.modalities) or 'none of the modalities'}."
            )
        table = self.table[chosen]
        frames, boxes = (_cells(table, name) for name in _VIEWS[column])
        parsed = {cells: View.parse(*cells) for cells in set(zip(frames, boxes, strict=True))}
        views = {cells: replace(view, decode=self.decode) for cells, view in parsed.items()}
        masks = _cells(table, keys.MASK if column == keys.IMAGE else None)
        cells = zip(_cells(table, column), frames, boxes, masks, strict=True)
        files = {path: _on_disk(self.root, path) for path in set(_cells(table, column))}  # frames share one
        return [
            Media(files[path], views[frame, box], mask=self._mask_path(mask))
            for path, frame, box, mask in cells
        ]

    def masks(self, column: str = keys.MASK) -> dict[int, Media]:
        """Return the masks of the samples that have one, each with the image that it labels, by their row.

        Args:
            column: `keys.MASK`, or `keys.TRUE_MASK` for the true masks beside pseudo-masks.
        """
        rows = np.flatnonzero(present := self.present(column)).tolist()
        paths = map(self._mask_path, _cells(self.table[present], column)) if rows else ()
        every = zip(rows, paths, self.media(keys.IMAGE, present), strict=True)
        return {row: Media(path, labelled=image) for row, path, image in every if path}

    def _mask_path(self, name: str) -> Path | None:
        return _on_disk(self.mask_root or self.root, name) if name else None

    @property
    def shown(self) -> np.ndarray:
        """Modality whose file represents each sample, strings (N,): image, else clip, else elastogram."""
        return np.select([self.present(column) for column in _SHOWN], _SHOWN, default="").astype(object)

    @property
    def files(self) -> list[str]:
        """Path of the file that represents each sample, as given in the table, (N,)."""
        columns = {column: _cells(self.table, column) for column in _SHOWN}
        return [columns[column][row] for row, column in enumerate(self.shown)]

    def pictures(self) -> list[Media]:
        """Return the image that represents each sample, (N,); for a clip, its middle frame."""
        shown = self.shown
        media = {column: self.media(column, shown == column) for column in _SHOWN}
        media[keys.CLIP] = [Media(item.path, replace(item.view, frame=MIDDLE)) for item in media[keys.CLIP]]
        remaining = {column: iter(items) for column, items in media.items()}
        return [next(remaining[column]) for column in shown]

    def require(self, needs: Needs) -> None:
        """Refuse samples that lack what a job needs.

        Args:
            needs: Requirements of the job.

        Raises:
            DataError: Samples without a label or a mask, named by row, where the job needs one.
        """
        lacking = {keys.LABEL: self.labels == keys.UNLABELLED, keys.MASK: ~self.present(keys.MASK)}
        for column, needed in ((keys.LABEL, needs.label), (keys.MASK, needs.mask)):
            if needed and lacking[column].any():
                raise DataError(self._lacks(column, lacking[column], needs.job))

    def _lacks(self, column: str, lacking: np.ndarray, job: str) -> str:
        if lacking.all():
            given = [name for name in map(str, self.table) if name != column and self.present(name).any()]
            return (
                f"{job} needs a {column} for every sample; '{self.name}' has none. Its columns with "
                f"values are {', '.join(given)}. If the {column}s are in a column of another name, set "
                f"data.columns.{column}=NAME."
            )
        return (
            f"{job} needs a {column} for every sample of '{self.name}'; {self.named(lacking)}: {column} "
            f"is empty. Fill in the {column}s, or leave these samples out."
        )

    def with_one_class(self) -> "Manifest":
        """Return the samples with one label for all, for a job that needs none."""
        return replace(self, table=self.table.assign(**{keys.LABEL: 0}), classes=(UNLABELLED_CLASS,))

    def named(self, rows: np.ndarray) -> str:
        """Return a phrase that names samples, bool (N,), by rows of the user's table or else by ids."""
        table = self.table[rows]
        if keys.ROW in table:
            return rows_named(table[keys.ROW].tolist())
        return rows_named(table[keys.SAMPLE_ID].tolist(), "sample")

    @property
    def hash(self) -> str:
        """SHA-256 of ids, groups, patients, visits and labels, independent of the order of rows.

        Pixels, folders, frames and rectangles are not included, since no split depends on them: a saved split
        stays valid on another machine and after a rectangle is corrected.
        """
        identity = self.table[list(_IDENTITY)].sort_values(keys.SAMPLE_ID)
        text = identity.to_csv(index=False, lineterminator="\n")
        return hashlib.sha256(f"{','.join(self.classes)}\n{text}".encode()).hexdigest()


def validated(table: pd.DataFrame, classes: Sequence[str], name: str, pictured: bool = True) -> pd.DataFrame:
    """Check a table and complete its columns, or refuse it with every fault at once.

    Args:
        table: Needs `sample_id` and at least one of `image`, `clip` and `elastogram` for each sample. `label`
            is a class index, missing (`keys.UNLABELLED`, NaN, or no such column) where it is not known.
            Missing columns `group_id`, `patient_id`, `visit_id`, `site` and `scanner` are added. A sample
            without a group gets its patient as group, or else a group of its own. The index names the rows in
            messages, such as a spreadsheet's row numbers.
        classes: Names of the labels.
        name: Data set, for the message.
        pictured: Whether each sample needs a file.

    Returns:
        A copy: rows numbered from 0 (an index named `table_row` becomes a column), labels as int64, clinical
        columns as float64 (`clinical.typed`), all other columns of `fibrolab.keys` as text, empty for missing
        values.

    Raises:
        DataError: Missing column, no row, empty or repeated `sample_id`, label out of range, a sample without
            any file, a mask without its image, a path that could leave the root, an invalid frame or
            rectangle, impossible clinical values, one visit with two stages, or one patient in two groups;
            each fault names its rows.
    """
    missing = [keys.SAMPLE_ID] if keys.SAMPLE_ID not in table else []
    if pictured and not any(column in table for column in _SHOWN):
        missing.append(f"{keys.IMAGE} (or {keys.CLIP}, or {keys.ELASTOGRAM})")
    if missing:
        raise DataError(f"The manifest of '{name}' lacks the column(s) {', '.join(missing)}.")
    if table.empty:
        raise DataError(f"The manifest of '{name}' is empty: it holds no sample.")
    table = _completed(table)
    faults = [
        *_column_faults(table, classes, pictured),
        *(fault for column in PATHS if column in table for fault in _path_faults(table[column])),
        *_view_faults(table),
        *clinical.faults(table),
        *(_visit_faults(table, classes) if len(table) > 1 else ()),
        *(_patient_faults(table) if len(table) > 1 else ()),
    ]
    refuse(f"The manifest of '{name}'", faults)
    table = clinical.typed(table)
    if table[keys.LABEL].dtype != np.int64:
        table = table.astype({keys.LABEL: np.int64})
    if table.index.name != keys.ROW:
        return table.reset_index(drop=True)
    return table.drop(columns=keys.ROW, errors="ignore").reset_index()


def _completed(table: pd.DataFrame) -> pd.DataFrame:
    """Return a copy with all columns, texts as text, and a group for every sample."""
    columns, none = dict(table.items()), pd.Series("", table.index, "str")
    for column in (*_TEXT, *_OPTIONAL_TEXT):
        if column in columns:
            columns[column] = _as_text(columns[column])
        elif column in _TEXT:
            columns[column] = none
    labels = columns.get(keys.LABEL, pd.Series(keys.UNLABELLED, table.index))
    columns[keys.LABEL] = labels.where(labels.notna(), keys.UNLABELLED) if labels.hasnans else labels
    for default in (keys.PATIENT_ID, keys.SAMPLE_ID):
        groups = columns[keys.GROUP_ID]
        if groups is none or (empty := groups == "").all():
            columns[keys.GROUP_ID] = columns[default]
        elif empty.any():
            columns[keys.GROUP_ID] = groups.where(~empty, columns[default])
    return pd.DataFrame(columns, table.index)


def _as_text(cells: pd.Series) -> pd.Series:
    """Convert cells to text, missing ones to empty text, and floats that are whole numbers to integers."""
    if cells.dtype == "str" and not cells.hasnans:
        return cells
    if pd.api.types.is_float_dtype(cells) and (cells.dropna() % 1 == 0).all():
        cells = cells.astype("Int64")
    return cells.astype(object).where(cells.notna(), "").astype(str)


def _cells(table: pd.DataFrame, column: str | None) -> Sequence[str]:
    return table[column].tolist() if column in table else [""] * len(table)


def _column_faults(table: pd.DataFrame, classes: Sequence[str], pictured: bool) -> Iterator[str]:
    ids, labels = table[keys.SAMPLE_ID], table[keys.LABEL]
    yield from empty_cells(ids)
    repeated = "repeated: each row needs its own; if none is given, it is the file, frame and rectangle"
    if not ids.is_unique:
        several = ids[(ids != "") & ids.duplicated(keep=False)]
        yield from cell_faults(keys.SAMPLE_ID, several, "is", repeated)
    if pictured:
        yield from _picture_faults(table)
    unknown = labels[~labels.isin((keys.UNLABELLED, *range(len(classes))))]
    yield from cell_faults(keys.LABEL, unknown, "is", f"not a class index 0..{len(classes) - 1}")


def _picture_faults(table: pd.DataFrame) -> Iterator[str]:
    """Find samples without any file, and masks without the image that they label."""
    given = [column for column in _SHOWN if column in table]
    empty = np.logical_and.reduce([(table[column] == "").to_numpy() for column in given])
    if len(without := table.index[empty]):
        fault = "is empty" if len(given) == 1 else "are empty: a sample needs one of them"
        yield f"{rows_named(without)}: {' and '.join(given)} {fault}"
    if keys.MASK in table:
        image = table.get(keys.IMAGE, pd.Series("", table.index))
        without_image = table.index[(table[keys.MASK] != "") & (image == "")]
        if len(without_image):
            yield f"{rows_named(without_image)}: mask without an image: a mask labels the pixels of the image"


def _path_faults(paths: pd.Series) -> Iterator[str]:
    """Find paths that could lead out of the root, on this or another operating system."""
    if not any(map(_SUSPICIOUS.search, paths.tolist())):  # most tables have none of these
        return
    for pattern, verb, words in (
        (r"^(?:/|\\|[A-Za-z]:)", "is", "absolute: give it relative to the data set's root"),
        (r"(?:^|[/\\])\.\.(?:$|[/\\])", "leads", "out of the data set's root by '..'"),
        (r"^(?![A-Za-z]:|\\).*\\", "holds", "a backslash: write / between folders"),
        (r"\x00", "holds", "a zero byte"),
    ):
        yield from cell_faults(str(paths.name), paths[paths.str.contains(pattern)], verb, words)


def _on_disk(root: Path, name: str) -> Path:
    """Return the path of a file in the Unicode form used on the disk: macOS decomposes accented letters."""
    path = root / name
    if name.isascii() or path.exists():
        return path
    others = (root / unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    return next((other for other in others if other.exists()), path)


def _view_faults(table: pd.DataFrame) -> Iterator[str]:
    for frame, box in _VIEWS.values():
        for column in (name for name in (frame, box) if name in table):
            cells = table[column]
            faults = {cell: _view_fault(cell, column == frame) for cell in cells.unique()}
            wrong = cells[cells.map(faults) != ""]
            yield from (f"row {row}: {column}{faults[cell]}" for row, cell in wrong.items())


def _view_fault(cell: str, is_frame: bool) -> str:
    """Return the fault of a frame or a rectangle, to follow the column's name; empty if there is none."""
    try:
        View.parse(frame=cell) if is_frame else View.parse(box=cell)
    except ValueError as error:
        return str(error).removeprefix("frame").removeprefix("roi")
    return ""


def _visit_faults(table: pd.DataFrame, classes: Sequence[str]) -> Iterator[str]:
    """Find visits with two stages: a stage belongs to a visit."""
    visited = table[keys.VISIT_ID] != ""
    if not visited.any():
        return
    named = (table[keys.PATIENT_ID] != "") & visited
    known = named & table[keys.LABEL].isin(range(len(classes)))
    for (patient, visit), rows in _disagreeing(table[known], [keys.PATIENT_ID, keys.VISIT_ID], keys.LABEL):
        stages = [classes[int(label)] for label in sorted(rows[keys.LABEL].unique())]
        where = rows_named(rows.index)
        yield f"visit {visit!r} of patient {patient!r} has {', '.join(stages)} ({where}): it can have one"


def _patient_faults(table: pd.DataFrame) -> Iterator[str]:
    """Find patients in two groups: a split could separate them."""
    known = table[keys.PATIENT_ID] != ""
    if not known.any():
        return
    for (patient,), rows in _disagreeing(table[known], [keys.PATIENT_ID], keys.GROUP_ID):
        groups = ", ".join(repr(group) for group in rows[keys.GROUP_ID].unique()[:6])
        yield f"patient {patient!r} is in the groups {groups} ({rows_named(rows.index)})"


def _disagreeing(table: pd.DataFrame, by: list[str], column: str) -> Iterator[tuple[tuple, pd.DataFrame]]:
    """Yield the groups within which a column has more than one value."""
    many = table.groupby(by)[column].transform("nunique") > 1
    yield from table[many].groupby(by)
