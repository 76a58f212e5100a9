"""Pictures without a label, from the user's path to data for the network of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from fibrolab import keys
from fibrolab.data.duplicates import grouped
from fibrolab.data.labelled_data import LabelledData, labels_under, refuse_other_classes
from fibrolab.data.manifest import Manifest
from fibrolab.data.media import Decode
from fibrolab.data.readers import describe, read_bytes
from fibrolab.data.requirements import PREDICT
from fibrolab.data.sources import table
from fibrolab.data.sources.folder import files_below
from fibrolab.data.splits import all_test
from fibrolab.errors import ConfigError, DataError, listing
from fibrolab.loading import surveyed

TABLES = (".csv", ".tsv", ".txt", ".parquet")  # suffixes of tables; other files are pictures or films


def read(path: str | Path, record: Mapping[str, Any], inputs: Sequence[str]) -> Manifest:
    """Read new samples for a network; labels are optional in a table, and there are none elsewhere.

    Args:
        path: A picture, a DICOM file or a film; a folder of these, at any depth; or a table.
        record: Record of the training (`fibrolab.runs.checkpoint.described`).
        inputs: Modalities that the network takes.

    Raises:
        ConfigError: The network takes several modalities, and no table says which file is which.
        DataError: There is no such path, no picture in it, a file is damaged, or it is a film for a network
            on single pictures, or the reverse.
    """
    place = Path(path).expanduser().absolute()
    if not place.exists():
        raise DataError(f"input={path} does not exist: give a picture, a film, a folder or a table.")
    names = tuple(map(str, record["task"]["of"] or record["classes"]))
    if place.suffix.lower() in TABLES:
        return table.load(path=place, classes=names)
    root = place if place.is_dir() else place.parent
    files = files_below(place) if place.is_dir() else [place]
    if not files:
        raise DataError(f"input={path} holds no picture and no film.")
    column = _column(inputs)
    _refuse_other_modality(files, root, column)
    paths = [file.relative_to(root).as_posix() for file in files]
    return Manifest(pd.DataFrame({keys.SAMPLE_ID: paths, column: paths}), names, place.name, root)


def as_data(manifest: Manifest, record: Mapping[str, Any], cache: Path) -> LabelledData:
    """Survey samples for a network; labels are optional.

    Files are decoded with the corrections of the training, unless the manifest has its own.

    Args:
        manifest: Samples from any source.
        record: Record of the training (`fibrolab.runs.checkpoint.described`).
        cache: Folder of the surveys of files.

    Returns:
        The samples, all in the test partition; `keys.UNLABELLED` where no label is known.

    Raises:
        ConfigError: The data has labels of other classes.
        DataError: A file cannot be read.
    """
    manifest.require(PREDICT)
    if not str(manifest.decode):
        manifest = replace(manifest, decode=Decode(**record.get("decode", {})))
    manifest, facts = surveyed(manifest, cache, "error")
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


def _refuse_other_modality(files: Sequence[Path], root: Path, column: str) -> None:
    """Refuse films for a network on pictures, and pictures for a network on films."""
    faults = []
    for file in files:
        frames = describe(read_bytes(file), file).frames
        if (frames > 1) != (column == keys.CLIP):
            faults.append(
                f"{file.relative_to(root)}: {f'a film of {frames} frames' if frames > 1 else 'one picture'}"
            )
    if not faults:
        return
    takes, mend = "single pictures", "Give pictures, or a table that chooses a frame in its column `frame`."
    if column == keys.CLIP:
        takes, mend = "films", "Give films."
    raise DataError(f"The network takes {takes}, and these are none:\n{listing(faults)}\n{mend}")
