"""Pictures without a label, from the user's path to data for the network of a run."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data import tables
from fibrolab.data.duplicates import grouped
from fibrolab.data.labelled_data import LabelledData, labels_under, refuse_other_classes
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import Decode, View
from fibrolab.data.readers import decode, describe, read_bytes
from fibrolab.data.requirements import PREDICT
from fibrolab.data.screen_capture import has_colours
from fibrolab.data.sources import table
from fibrolab.data.sources.folder import files_below, is_utf8
from fibrolab.data.splits import all_test
from fibrolab.data.survey import Take
from fibrolab.errors import ConfigError, DataError, listing
from fibrolab.loading import examined, surveyed, usable

# Suffixes of tables; all other files are pictures or films.
TABLES = (".csv", ".tsv", ".txt", ".parquet", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_GREY = "is grey; an elastogram has the stiffness in colours"


def read(path: str | Path, record: Mapping[str, Any], inputs: Sequence[str]) -> Manifest:
    """Read new samples for a network; labels are optional in a table, and there are none elsewhere.

    Args:
        path: A picture, a DICOM file or a film; a folder of these, at any depth; or a table.
        record: Record of the training (`fibrolab.runs.training_record.described`).
        inputs: Modalities that the network takes.

    Raises:
        ConfigError: The network takes several modalities, and no table says which file is which.
        DataError: There is no such path, no picture in it, a file is damaged, or it is a film for a network
            on single pictures, or the reverse, or a grey picture for a network on elastograms.
    """
    found = listed([path], record, inputs)
    if not _is_table(Path(path)):
        _refuse_other_modality(found, _column(inputs))
    return found


def listed(
    given: Sequence[str | Path], record: Mapping[str, Any], inputs: Sequence[str], labels: bool = True
) -> Manifest:
    """List new samples for a network, without reading their files.

    Args:
        given: Pictures, DICOM files, films, folders of these at any depth; or one table.
        record: Record of the training (`fibrolab.runs.training_record.described`).
        inputs: Modalities that the network takes.
        labels: Whether labels of a table are read; if not, they may be of any kind, and a note says so.

    Raises:
        ConfigError: The network takes several modalities, and no table says which file is which.
        DataError: There is no such path, no picture in it, or a table beside others.
    """
    places = [Path(each).expanduser().absolute() for each in given]
    if missing := [str(path) for path, place in zip(given, places, strict=True) if not place.exists()]:
        raise DataError(
            f"input={', '.join(missing)} does not exist: give a picture, a film, a folder or a table."
        )
    names = tuple(map(str, record["task"]["of"] or record["classes"]))
    if given_tables := [place for place in places if _is_table(place)]:
        if len(places) > 1:
            raise DataError(f"input has {given_tables[0]} beside other paths: give one table alone.")
        columns = None if labels else _without_label(given_tables[0])
        return _decoded(table.unsplit(given_tables[0], names, columns), record)
    files = [file for place in places for file in (_pictures_below(place) if place.is_dir() else [place])]
    if not files:
        raise DataError(f"input={' '.join(map(str, given))} holds no picture and no film.")
    column, root = _column(inputs), common_folder(places)
    paths = [file.relative_to(root).as_posix() for file in dict.fromkeys(files)]
    if strange := [path for path in paths if not is_utf8(path)]:
        raise DataError(
            f"The name {strange[0]!a} is not UTF-8 ({len(strange)} of {len(paths)} files): rename them."
        )
    name = places[0].name if len(places) == 1 else root.name
    return _decoded(Manifest(pd.DataFrame({keys.SAMPLE_ID: paths, column: paths}), names, name, root), record)


def _pictures_below(folder: Path) -> list[Path]:
    """Return the files below a folder but tables, which stand beside pictures in data sets."""
    files = files_below(folder)
    if passed := [file for file in files if _is_table(file)]:
        print(f"note     tables among the pictures are not read: {passed[0].name} ({len(passed)} in all)")
    return [file for file in files if not _is_table(file)]


def _decoded(manifest: Manifest, record: Mapping[str, Any]) -> Manifest:
    """Return samples whose files are decoded with the corrections of the training, or their own ones."""
    given = Decode(**record.get("decode", {}))
    if str(manifest.decode) or given == manifest.decode:
        return manifest
    return replace(manifest, decode=given)


def _without_label(path: Path) -> dict[str, None] | None:
    """Return the columns of a table that are passed over: its labels, if it has any."""
    if keys.LABEL not in tables.header(path):
        return None
    print(
        f"note     the labels of {path.name} are not used; fibrolab.evaluate scores the predictions of "
        "labelled samples"
    )
    return {keys.LABEL: None}


def common_folder(places: Sequence[Path]) -> Path:
    """Return the deepest folder that contains all paths, files or folders; of one folder, itself."""
    folders = [place if place.is_dir() else place.parent for place in places]
    return Path(os.path.commonpath(folders))


def unlabelled(
    manifest: Manifest, classes: Sequence[str], take: Mapping[str, Take] | None = None
) -> tuple[LabelledData | None, dict[int, str]]:
    """Survey samples for a network, whatever their labels, and leave out those that cannot be read.

    Args:
        manifest: Samples from any source.
        classes: Names of the network's classes.
        take: Functions that take the decoded pixels of pictures, by modality (`survey`).

    Returns:
        The readable samples, None if there are none, and a sentence on each other one by its row.
    """
    grey = set[str]()
    facts, faults = examined(manifest, None, _noting(grey, take or {}))  # files to answer are read once
    if grey:
        faults += _grey_elastograms(manifest, facts[keys.ELASTOGRAM]["sha256"].isin(grey))
    reasons = {row: "; ".join(said for at, said in faults if at == row) for row, _ in faults}
    good = np.array([row not in reasons for row in range(len(manifest))])
    if not good.any():
        return None, reasons
    kept, measured = usable(manifest, facts, good)
    labels = np.full(len(kept), keys.UNLABELLED, np.int64)
    return LabelledData(kept, measured, labels, list(classes), all_test(kept)), reasons


def _noting(grey: set[str], take: Mapping[str, Take]) -> dict[str, Take]:
    """Return the functions that take pixels, of which that of elastograms notes the hashes of grey ones."""
    own = take.get(keys.ELASTOGRAM)

    def elastogram(digest: str, pixels: np.ndarray) -> None:
        if not has_colours(pixels):
            grey.add(digest)
        if own is not None:
            own(digest, pixels)

    return {**take, keys.ELASTOGRAM: elastogram}


def _grey_elastograms(manifest: Manifest, rows: pd.Series) -> Iterator[tuple[int, str]]:
    """Yield a sentence on each of these samples, bool (N,), with its row."""
    table = manifest.table
    for row in np.flatnonzero(rows).tolist():
        said = f"{table[keys.ELASTOGRAM].iloc[row]}: {_GREY}"
        if keys.ROW in table:
            said = f"row {table[keys.ROW].iloc[row]}: {said} (are the columns image and elastogram swapped?)"
        yield row, said


def as_data(manifest: Manifest, record: Mapping[str, Any], cache: Path) -> LabelledData:
    """Survey samples for a network; labels are optional.

    Files are decoded with the corrections of the training, unless the manifest has its own.

    Args:
        manifest: Samples from any source.
        record: Record of the training (`fibrolab.runs.training_record.described`).
        cache: Folder of the surveys of files.

    Returns:
        The samples, all in the test partition; `keys.UNLABELLED` where no label is known.

    Raises:
        ConfigError: The data has labels of other classes.
        DataError: A file cannot be read.
    """
    manifest.require(PREDICT)
    manifest, facts = surveyed(_decoded(manifest, record), cache, "error")
    manifest = grouped(manifest, facts[keys.IMAGE])
    labels, task, classes = manifest.labels, record["task"], list(record["classes"])
    if (labels != keys.UNLABELLED).any():
        labels = labels_under(task["name"], task["of"], task["merge"], manifest, trained=True)
        if task["of"] is None:
            refuse_other_classes(manifest, classes)
    return LabelledData(manifest, facts, labels, classes, all_test(manifest))


def _column(inputs: Sequence[str]) -> str:
    """Return the only modality that a network takes."""
    visual = [name for name in inputs if name != keys.CLINICAL]
    if len(visual) == 1 and len(inputs) == 1:
        return visual[0]
    raise ConfigError(
        f"The network takes {' and '.join(inputs)} of each sample: give a table with a column for each, "
        "input=TABLE.csv."
    )


def _is_table(place: Path) -> bool:
    return place.suffix.lower() in TABLES and not place.is_dir()


def _refuse_other_modality(manifest: Manifest, column: str) -> None:
    """Refuse films for a network on pictures, pictures for one on films, and grey ones for elastograms."""
    faults = []
    for name in manifest.table[column]:
        file = manifest.root / name
        content = read_bytes(file)
        frames = describe(content, file).frames
        if (frames > 1) != (column == keys.CLIP):
            faults.append(f"{name}: {f'a film of {frames} frames' if frames > 1 else 'one picture'}")
        elif column == keys.ELASTOGRAM and not has_colours(
            decode(content, file, View(decode=manifest.decode))
        ):
            faults.append(f"{name}: a grey picture")
    if not faults:
        return
    takes, mend = "single pictures", "Give pictures, or a table that chooses a frame in its column `frame`."
    if column == keys.CLIP:
        takes, mend = "films", "Give films."
    elif column == keys.ELASTOGRAM:
        takes, mend = "elastograms", "Give single pictures whose colours are the stiffness."
    raise DataError(f"The network takes {takes}, and these are none:\n{listing(faults)}\n{mend}")
