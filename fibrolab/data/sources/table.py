"""The user's own table, one row per sample: the source for hospital data.

A CSV (comma, semicolon or tab; UTF-8 or UTF-16), Excel or Parquet file. Paths in it are relative to the
table's folder:

    patients.csv
        image,patient_id,visit_id,label,site,scanner,age_years,ast_u_l,alt_u_l,platelets_1e9_l
        img/0001.png,P001,1,F2,north,convex-a,54,61,48,187
        img/0002.dcm,P001,1,F2,north,convex-a,54,61,48,187
    img/0001.png
    img/0002.dcm

Each row needs at least one of `image`, `clip` and `elastogram`, and a `label` unless it is to be predicted.
Every other column of `fibrolab.keys` is optional. Without `patient_id`, only copies of an image are grouped;
a table that has it fills it in every row, or gives the other rows a `group_id`. Columns of other names are
kept as they are.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from fibrolab import keys
from fibrolab.data import clinical, patient_ids, tables
from fibrolab.data.fault_sentences import cell_faults, refuse
from fibrolab.data.manifest import PATHS, Manifest
from fibrolab.errors import ConfigError, DataError, listing

logger = logging.getLogger(__name__)
STAGES = ("F0", "F1", "F2", "F3", "F4")
PICTURES = (keys.IMAGE, keys.CLIP, keys.ELASTOGRAM)
# Columns that a source needs in its table: of each tuple one. `fibrolab.loading` asks for them early.
NEEDS = (PICTURES,)
# Columns on which the answer of a trained network can depend.
ANSWERED = (
    keys.SAMPLE_ID, keys.PATIENT_ID, keys.VISIT_ID, *PICTURES, keys.FRAME, keys.ROI, keys.ELASTOGRAM_ROI,
    *clinical.COLUMNS,
)  # fmt: skip


def load(
    *,
    path: str | Path,
    sheet: str | None = None,
    root: str | Path | None = None,
    mask_root: str | Path | None = None,
    classes: Sequence[str] = STAGES,
    columns: Mapping[str, str | None] | None = None,
    pictured: bool = True,
) -> Manifest:
    """Read a table.

    Args:
        path: CSV, Excel or Parquet file.
        sheet: Sheet of an Excel file; None for the first one.
        root: Folder that the paths in the table are relative to; None for the table's folder.
        mask_root: Folder that the paths of masks are relative to; None for `root`.
        classes: Names of the labels in their order; METAVIR stages by default.
        columns: Names of our columns in the table, such as `patient_id: MRN`; None if the table has a column
            with our name, or a similar one, that means something else.
        pictured: Whether the job reads pictures; if not, their columns may be absent and are not read.

    Raises:
        ConfigError: An unknown setting, or one with a column that the table lacks; or a column of the table
            has nearly the name of one in `columns`, such as `Patient ID`, and would not be used.
        DataError: A table that cannot be read, lacks a column or has faults; see `tables.read`, `labelled`
            and `manifest.validated`; or some rows have a patient, and others neither patient nor group.
    """
    table = _read(path, classes, columns, NEEDS if pictured else (), sheet)
    if not pictured:
        return _without_pictures(table, classes, Path(path).expanduser().absolute())
    if keys.PATIENT_ID not in table:
        logger.warning(
            "%s has no column patient_id, so that a split may separate one patient's images; it has %s. If "
            "one of them identifies the patient, set data.columns.patient_id=NAME.",
            path,
            ", ".join(map(str, table.columns)),
        )
    manifest = as_manifest(with_ids(table), classes, path, root)
    if mask_root is None:
        return manifest
    return replace(manifest, mask_root=Path(mask_root).expanduser().absolute())


def unsplit(
    path: str | Path, classes: Sequence[str], columns: Mapping[str, str | None] | None = None
) -> Manifest:
    """Read a table of samples for a trained network, which no split separates (see `load`).

    Raises:
        DataError: See `load`; or a column has nearly the name of one that is used, such as `Patient ID`.
    """
    table = _read(path, classes, columns, NEEDS)
    near = _near_names(table, {name: name for name in ANSWERED})
    refuse(path, [f"column '{given}' is not used: rename it to {ours}" for ours, given in near.items()])
    return as_manifest(with_ids(table), classes, path, None)


def _read(
    path: str | Path,
    classes: Sequence[str],
    columns: Mapping[str, str | None] | None,
    needs: Sequence[Sequence[str]],
    sheet: str | None = None,
) -> pd.DataFrame:
    table = labelled(path, classes, columns, needs, sheet)
    if keys.PATIENT_ID in table:
        refuse(path, [*patient_ids.half_filled(_ungrouped(table))])
    return table


def _without_pictures(table: pd.DataFrame, classes: Sequence[str], path: Path) -> Manifest:
    """Return rows without their pictures; samples without an id are named after their rows."""
    table = table.drop(columns=[*PATHS, keys.FRAME, keys.ROI, keys.ELASTOGRAM_ROI], errors="ignore")
    if keys.SAMPLE_ID not in table:
        table.insert(0, keys.SAMPLE_ID, pd.Series([f"row {row}" for row in table.index], table.index))
    return Manifest(table, tuple(map(str, classes)), path.stem, path.parent, pictured=False)


def _ungrouped(table: pd.DataFrame) -> pd.Series:
    """Return the patients of the rows without a group of their own."""
    ids = table[keys.PATIENT_ID]
    if keys.GROUP_ID not in table or not (ids != "").any():
        return ids
    return ids[(ids != "") | (table[keys.GROUP_ID] == "")]


def labelled(
    path: str | Path,
    classes: Sequence[str],
    columns: Mapping[str, str | None] | None = None,
    needs: Sequence[Sequence[str]] = (),
    sheet: str | None = None,
) -> pd.DataFrame:
    """Read a table with our column names and labels as class indices; its index has the spreadsheet's rows.

    A missing label is `keys.UNLABELLED`; `Manifest.require` decides later whether the job needs labels.

    Args:
        path: CSV, Excel or Parquet file.
        classes: Names of the labels. The table has either names or indices from 0, not both.
        columns: See `load`.
        needs: Columns that the table must have: of each tuple one.
        sheet: Sheet of an Excel file; None for the first one.

    Raises:
        ConfigError: See `load`.
        DataError: A missing column; or labels that are unknown or of both kinds, ids that a spreadsheet has
            cut, or a word for a missing value instead of an id, with their rows.
    """
    columns, classes = columns or {}, list(map(str, classes))
    words = {keys.PATIENT_ID: tables.MISSING, keys.LABEL: classes}  # not silently missing
    values = {name: words[ours] for ours in words if (name := columns.get(ours, ours)) is not None}
    table = _renamed(tables.read(path, sheet, values), columns, path)
    _refuse_without(needs, table, path)
    faults: list[str] = []
    if keys.PATIENT_ID in table:
        table, faults = _known_patients(table, path)
    if keys.LABEL not in table:
        indices: int | pd.Series = keys.UNLABELLED
    else:
        indices, label_faults = _indices(table[keys.LABEL], classes)
        faults += label_faults
    refuse(path, faults)
    return table.assign(**{keys.LABEL: indices})


def _known_patients(table: pd.DataFrame, path: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """Return the table without words for a missing patient, and the faults of its patient ids."""
    ids = table[keys.PATIENT_ID]
    unknown = patient_ids.missing(ids)
    if unknown.all():
        if (ids != "").any():
            logger.warning("%s: no patient is known; '%s' is taken as missing.", path, ids[ids != ""].iloc[0])
        faults = []
    else:
        faults = [*patient_ids.words_for_missing(ids), *patient_ids.cut(ids.mask(unknown, ""))]
    return table.assign(**{keys.PATIENT_ID: ids.mask(unknown, "")}), faults


def check_header(
    path: str | Path,
    columns: Mapping[str, str | None] | None,
    needs: Sequence[Sequence[str]],
    sheet: str | None = None,
) -> None:
    """Refuse a table by its header alone, as `labelled` does; see there for the arguments.

    Raises:
        ConfigError: A setting names a column that the table lacks.
        DataError: A missing column, or a file that cannot be read.
    """
    names = list(dict.fromkeys(tables.header(path, sheet)))
    _refuse_without(needs, _renamed(pd.DataFrame(columns=names), columns or {}, path), path)


def _refuse_without(needs: Sequence[Sequence[str]], table: pd.DataFrame, path: str | Path) -> None:
    """Refuse a table that has none of the columns of a tuple."""
    missing = [either for either in needs if not any(column in table for column in either)]
    if missing:
        words = " nor ".join(_words(*either) for either in missing)
        raise DataError(
            f"{path} has no column {words}; it has {', '.join(table.columns)}. If the table has another name "
            f"for it, rename it, or set data.columns.{missing[0][0]}=NAME for a training."
        )


def _words(column: str, *others: str) -> str:
    return f"{column} (or {', or '.join(others)})" if others else column


def with_ids(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with a `sample_id`, by default made of the file's path, frame and rectangle."""
    if keys.SAMPLE_ID in table:
        return table
    names = pd.Series("", table.index)
    for column in (name for name in PICTURES if name in table):
        names = names.mask(names == "", table[column])
    for column in (name for name in (keys.FRAME, keys.ROI) if name in table):
        names = names + ("#" + table[column]).where(table[column] != "", "")
    return pd.concat([names.rename(keys.SAMPLE_ID), table], axis=1)


def as_manifest(
    table: pd.DataFrame, classes: Sequence[str], path: str | Path, root: str | Path | None
) -> Manifest:
    """Make a manifest from a table with our column names; its name is that of the file.

    Args:
        table: Result of `labelled`, with all required columns.
        classes: Names of the labels in their order.
        path: The file that the table was read from.
        root: Folder that its paths are relative to; None for the file's folder.

    Raises:
        ConfigError: There is no such folder.
    """
    folder = Path(path).parent if root is None else Path(root)
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError(f"data.root={root} is not a folder; the paths in {path} are relative to it.")
    return Manifest(table, tuple(map(str, classes)), Path(path).stem, folder)


def _renamed(table: pd.DataFrame, columns: Mapping[str, str | None], path: str | Path) -> pd.DataFrame:
    """Rename columns to ours; drop those with our name that are declared to mean something else."""
    theirs = {ours: name for ours, name in columns.items() if name != ours}
    faults = list(_misspelt(table, columns))
    for ours, name in theirs.items():
        if name is not None and name not in table:
            faults.append(f"data.columns.{ours}={name}: there is no such column")
        elif name is not None and ours in table and ours not in theirs.values():
            faults.append(f"data.columns.{ours}={name}: there is a column '{ours}' too; rename one of them")
    if faults:
        raise ConfigError(
            f"Settings do not fit {path}, whose columns are {', '.join(table.columns)}:\n{listing(faults)}"
        )
    other_meaning = [ours for ours, name in theirs.items() if name is None and ours in table]
    table = table.drop(columns=other_meaning)
    return table.rename(columns={name: ours for ours, name in theirs.items() if name is not None})


def _misspelt(table: pd.DataFrame, columns: Mapping[str, str | None]) -> Iterator[str]:
    """Yield sentences on columns that would silently be ignored for their spelling."""
    for ours, similar in _near_names(table, columns).items():
        yield (
            f"column '{similar}' is not used: is it {ours}? If so, set "
            f"'data.columns.{ours}=\"{similar}\"', else data.columns.{ours}=null"
        )


def _near_names(table: pd.DataFrame, columns: Mapping[str, str | None]) -> dict[str, str]:
    """Return columns of the table that differ from ours only in case, blanks and signs, by our names."""
    used = {*columns, *columns.values()}
    given = {_letters(name): name for name in table.columns.tolist() if name not in used}
    asked = (ours for ours, name in columns.items() if name == ours and ours not in table)
    return {ours: given[_letters(ours)] for ours in asked if _letters(ours) in given}


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).casefold()


def _indices(labels: pd.Series, classes: list[str]) -> tuple[pd.Series, list[str]]:
    """Return the class index of every label, int64 (N,), `keys.UNLABELLED` if it is empty; and the faults."""
    numbers = [str(index) for index in range(len(classes))]
    named, numbered = labels.isin(classes), labels.isin(numbers)
    known = classes if named.sum() >= numbered.sum() else numbers
    unknown = labels[(labels != "") & ~named & ~numbered]
    allowed = f"not one of {', '.join(classes)} (or 0 to {len(classes) - 1}); set others by data.classes"
    faults = [*cell_faults(keys.LABEL, unknown, "is", allowed)]
    mixed = labels[(labels != "") & (named | numbered) & ~labels.isin(known)]
    if len(mixed):
        kinds = ("an index", "names") if known == classes else ("a name", "indices")
        faults += cell_faults(
            keys.LABEL, mixed, "is", f"{kinds[0]} where the other rows give {kinds[1]}: use one kind"
        )
    indices = labels.map({label: index for index, label in enumerate(known)})
    return indices.fillna(keys.UNLABELLED).astype("int64"), faults
