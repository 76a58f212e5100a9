"""Focal liver lesions: images with a table of rectangles, one row per lesion.

Folder tree:

    ROOT/
      lesions.csv          or Excel, Parquet: image, label, patient_id, left, top, width, height [px]
      images/..            PNG, JPEG, DICOM, ..: whole images, from which the rectangles are cut

A rectangle is given as `left`, `top`, `width`, `height`; or by its corners `x_min`, `y_min`, `x_max` and
`y_max`, where x_max and y_max are the first column and row outside it; or as the manifest's `roi`, which is
left, top, width and height separated by blanks. All are whole pixels from the image's upper left corner. An
image without a lesion has a rectangle too, of normal liver.

All lesions of one image stay in one partition, since their group is the patient or, if it is not known, the
image. Other columns of a manifest may be given as for the source `table`, but `visit_id` is ignored: a visit
has one stage, but may have lesions of several classes.

Made for the five classes of Tangruangkiat et al., J Appl Clin Med Phys 25(1), e14210, 2023, who cut 581
images of as many livers in this way. Their images are not public; other classes are given in `classes`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.box import Box
from fibrolab.data.fault_sentences import cell_faults, empty_cells, refuse, rows_named
from fibrolab.data.manifest import Manifest
from fibrolab.data.sources.table import as_manifest, labelled, with_ids
from fibrolab.errors import ConfigError, DataError

CLASSES = ("non_FLL", "cyst", "FFS", "haemangioma", "HCC")
SIDES = ("left", "top", "width", "height")
CORNERS = ("x_min", "y_min", "x_max", "y_max")
NEEDS = ((keys.IMAGE,),)
_WHOLE = r"\d{1,9}(?:\.0*)?"  # pandas writes the whole numbers of a column with a gap as 12.0


def load(
    *,
    path: str | Path,
    sheet: str | None = None,
    root: str | Path | None = None,
    classes: Sequence[str] = CLASSES,
    columns: Mapping[str, str | None] | None = None,
    fill_up: int | None = None,
) -> Manifest:
    """Read a table of lesions.

    Args:
        path: CSV, Excel or Parquet file.
        sheet: Sheet of an Excel file; None for the first one.
        root: Folder that the paths in the table are relative to; None for the table's folder.
        classes: Names of the labels in their order.
        columns: Names of our columns in the table, see `fibrolab.data.sources.table.load`.
        fill_up: Number of samples to which smaller classes are filled up by altered copies before the split;
            only to repeat the order of paper 3 (`filled_up`).

    Raises:
        ConfigError: An unknown setting, or one with a column that the table lacks; `fill_up` is no number.
        DataError: A table that cannot be read or lacks a column; rectangles that are not whole numbers or
            without a pixel, an image of two patients, and the faults of `manifest.validated`, by row. A
            rectangle that exceeds its image is found when the image is read.
    """
    table = labelled(path, classes, columns, NEEDS, sheet)
    rois, faults = rectangles(table)
    faults += _image_faults(table)
    refuse(path, faults)
    table = table.drop(columns=keys.VISIT_ID, errors="ignore")
    table = _grouped(with_ids(table.assign(**{keys.ROI: rois})))
    manifest = as_manifest(table, classes, path, root)
    return manifest if fill_up is None else filled_up(manifest, fill_up)


def filled_up(manifest: Manifest, per_class: int) -> Manifest:
    """Add altered copies of lesions until every class has `per_class` samples.

    Paper 3 fills its classes up before it draws its folds, by rescaling and translation whose strengths it
    does not give, so that copies of one lesion are in training and test. Here a copy is a rectangle of 80 to
    100 % of each side at a random place within the original one, in the group of the original: a split keeps
    them together unless `split.grouped=false split.leaky=true` repeats the paper. To fill up the training
    part only, use `sampler=fill_up`.

    Args:
        manifest: Lesions with their rectangles.
        per_class: Number of samples of each class; a class that has more keeps them.

    Raises:
        ConfigError: `per_class` is not a whole number from 1.
        DataError: A rectangle is not given in pixels.
    """
    if not isinstance(per_class, int) or isinstance(per_class, bool) or per_class < 1:
        raise ConfigError(f"data.fill_up={per_class} is not a whole number from 1, or null.")
    rng, table, copies = np.random.default_rng(0), manifest.table, list[pd.DataFrame]()
    for label in range(len(manifest.classes)):
        own = table[table[keys.LABEL] == label]
        if not 0 < len(own) < per_class:
            continue
        chosen = own.iloc[np.arange(per_class - len(own)) % len(own)]
        times = np.arange(len(chosen)) // len(own) + 1
        names = [f"{name} copy {time}" for name, time in zip(chosen[keys.SAMPLE_ID], times, strict=True)]
        boxes = [str(_within(roi, rng)) for roi in chosen[keys.ROI]]
        copies.append(chosen.assign(**{keys.SAMPLE_ID: names, keys.ROI: boxes}))
    return replace(manifest, table=pd.concat([table, *copies], ignore_index=True))


def _within(roi: str, rng: np.random.Generator) -> Box:
    """Return a random rectangle of 80 to 100 % of each side within one that is given in pixels."""
    try:
        whole = Box(*map(int, roi.split()))
    except (TypeError, ValueError) as fault:
        raise DataError(f"data.fill_up needs rectangles in pixels, and one is {roi!r}.") from fault
    scale = rng.uniform(0.8, 1.0)
    width, height = (max(1, round(scale * side)) for side in (whole.width, whole.height))
    left = whole.left + int(rng.integers(0, whole.width - width + 1))
    top = whole.top + int(rng.integers(0, whole.height - height + 1))
    return Box(left, top, width, height)


def rectangles(table: pd.DataFrame) -> tuple[pd.Series, list[str]]:
    """Return the rectangle of every row without a fault as the `roi` of a manifest.

    Args:
        table: A table of text with the columns `SIDES`, `CORNERS` or `roi`.

    Returns:
        The rectangles by row, and sentences on the rows without a valid one.

    Raises:
        DataError: The table has none of these columns, or two kinds of them.
    """
    forms = [form for form in (SIDES, CORNERS, (keys.ROI,)) if set(form) <= set(table)]
    if len(forms) != 1:
        raise DataError(
            f"A table of lesions has its rectangles in one kind of columns: {', '.join(SIDES)}; or "
            f"{', '.join(CORNERS)}; or {keys.ROI}. This one has {'several' if forms else 'none'} of them: "
            f"{', '.join(table.columns)}."
        )
    if forms[0] == (keys.ROI,):
        rois = table[keys.ROI]  # the manifest checks the values, but allows empty cells
        return rois, list(empty_cells(rois, "every lesion has a rectangle"))
    cells = table[list(forms[0])]
    whole = cells.apply(lambda column: column.str.fullmatch(_WHOLE))
    faults: list[str] = []
    for name in forms[0]:
        faults += cell_faults(name, cells[name][~whole[name]], "is", "not a whole number of pixels from 0")
    return _boxes(cells[whole.all(axis=1)], faults)


def _boxes(cells: pd.DataFrame, faults: list[str]) -> tuple[pd.Series, list[str]]:
    """Convert whole numbers to `roi`; add sentences on rectangles without a pixel to the faults."""
    first, second, third, fourth = cells.to_numpy(float).astype(int).T
    corners = list(cells) == list(CORNERS)
    width, height = (third - first, fourth - second) if corners else (third, fourth)
    rois = [str(Box(*sides)) for sides in zip(first, second, width, height, strict=True)]
    empty = cells[(width < 1) | (height < 1)]
    given = [", ".join(f"{name} {row[name]}" for name in row) for row in empty.to_dict("records")]
    faults += cell_faults("the rectangle", pd.Series(given, empty.index, str), "holds", "no pixel")
    return pd.Series(rois, cells.index, str), faults


def _image_faults(table: pd.DataFrame) -> Iterator[str]:
    """Find images whose rows differ in the patient (or lack it): a split could separate their lesions."""
    if keys.PATIENT_ID not in table:
        return
    known = table[table[keys.IMAGE] != ""]
    several = known.groupby(keys.IMAGE)[keys.PATIENT_ID].transform("nunique") > 1
    for image, rows in known[several].groupby(keys.IMAGE):
        patients = " and ".join(repr(patient) for patient in rows[keys.PATIENT_ID].unique())
        yield f"{rows_named(rows.index)}: image {image!r} has the patients {patients}: it can have only one"


def _grouped(table: pd.DataFrame) -> pd.DataFrame:
    """Complete the groups: by the patient if no group is given, by the image if no patient is known."""
    group = table[keys.IMAGE]
    for column in (keys.PATIENT_ID, keys.GROUP_ID):
        if column in table:
            group = table[column].where(table[column] != "", group)
    return table.assign(**{keys.GROUP_ID: group})
