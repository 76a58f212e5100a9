"""Masks of another data set by a trained segmenter: files, a table that `data=table` reads, and DICOM SEG."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import DictConfig

from fibrolab import keys, privacy
from fibrolab.config import resolved
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.media import Media
from fibrolab.data.readers import decode_labels, is_dicom, read_bytes
from fibrolab.data.requirements import Needs
from fibrolab.data.splits import EXTERNAL
from fibrolab.errors import ConfigError, DataError
from fibrolab.explanation import secondary_capture
from fibrolab.loading import load
from fibrolab.mask_classes import MaskClasses
from fibrolab.reporting import mask_dicom
from fibrolab.runs import overlap, segmenting
from fibrolab.runs.checkpoint import Predictor
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.storage import make_folder, put, write_table

TABLE_FILE, DICOM = "samples.csv", "dicom"
NEEDS = Needs("Segmentation", label=False, trained=True)
SHARE = "segmented_as"  # column of the table: the partition of samples that trained or tuned the segmenter
SHOWN = 6  # samples with an empty mask that are named


def write(config: DictConfig, run: TrainedRun) -> str:
    """Write a mask of every sample of a data set, and a table of the samples with these masks.

    The table has the samples' own columns, with the predicted masks in `mask`. Masks of samples that trained
    the segmenter are better than those of others; the column `segmented_as` names their partition. The column
    `segmented_by` is the run's id, by which a training recognises another segmenter than that of its masks.

    Args:
        config: `conf/evaluate.yaml`, composed, with `data`.
        run: The segmenter's run.

    Returns:
        The run's id.

    Raises:
        ConfigError: The run kept no network, or ids are to be hashed: the table names the files.
        DataError: The data has faults, or samples have no image.
    """
    if config.privacy.ids == privacy.HASHED or run.ids_key:
        raise ConfigError(
            "Masks for a training are written with a table of the files' names, which privacy.ids=hashed "
            "would hide: set privacy.ids=plain here and in the segmenter's run."
        )
    run.refuse_several_networks()
    (network,) = run.predictors
    data = _loaded(config, run)
    folder = make_folder(Path(config.folder).absolute())
    names = network.write_masks(data, folder / keys.MASKS, Path(config.paths.cache))
    table = _table(data, run, names)
    write_table(table, folder / TABLE_FILE)
    write_dicom(folder, data.manifest.media(), names, segmenting.classes_of(network.module), run.run_id)
    _announce(folder, table, data, network, run)
    return run.run_id


def _loaded(config: DictConfig, run: TrainedRun) -> LabelledData:
    """Load the samples, whether they have labels and masks or not."""
    settings = run.config.copy()
    settings.data, settings.paths = resolved(config.data), resolved(config.paths)
    settings.split = EXTERNAL
    data = load(settings, needs=NEEDS)
    if (lacking := ~data.manifest.present(keys.IMAGE)).any():
        raise DataError(
            f"A segmenter takes images, and '{data.manifest.name}' has none for "
            f"{data.manifest.named(lacking)}: leave these samples out."
        )
    return data


def _table(data: LabelledData, run: TrainedRun, names: list[str]) -> pd.DataFrame:
    """Return the samples with their masks, labels by name, and their partition in the segmenter's run."""
    table, labels = data.manifest.table.drop(columns=keys.ROW, errors="ignore"), data.manifest.labels
    classes = np.array([*data.manifest.classes, ""], object)  # the last one is that of UNLABELLED, -1
    shares = np.full(len(table), "", object)
    for partition in (keys.VALIDATION, keys.TRAIN):
        shares[overlap.known(data, run, [partition])] = partition
    written = [f"{keys.MASKS}/{name}" for name in names]
    made: dict[str, Any] = {keys.MASK: written, keys.SEGMENTED_BY: run.run_id, SHARE: shares}
    return table.assign(**{keys.LABEL: classes[labels]}, **made)


def write_dicom(
    folder: Path, media: Sequence[Media], names: Sequence[str], classes: MaskClasses, run: str
) -> None:
    """Write the masks of pictures that are DICOM files as DICOM SEG too, and print where they are.

    Frames of films have none: a SEG of a frame needs a frame of reference, which ultrasound lacks.

    Args:
        folder: Folder of the masks, which are read from its folder `masks`.
        media: The pictures.
        names: File names of their masks.
        classes: Classes of the masks.
        run: Id of the segmenter's run.
    """
    sources = {
        name: image.path
        for name, image in zip(names, media, strict=True)
        if image.view.frame is None and is_dicom(image.path)
    }
    if not sources:
        return
    try:
        secondary_capture.require()
    except ConfigError as error:
        print(f"warning  No mask is written as DICOM SEG. {error}")
        return
    for name, source in sources.items():
        png = folder / keys.MASKS / name
        found = classes.table()[decode_labels(read_bytes(png), png)].astype(np.uint8)
        try:
            content = mask_dicom.encoded(source, found, classes.names, run)
        except DataError as error:
            print(f"warning  {error}")
        else:
            put(folder / DICOM / f"{png.stem}.dcm", content)
    print(f"dicom    {folder / DICOM}")


def _announce(
    folder: Path, table: pd.DataFrame, data: LabelledData, network: Predictor, run: TrainedRun
) -> None:
    """Print where the files are, which masks to distrust, and how a classifier is trained with them."""
    classes = segmenting.classes_of(network.module)
    empty = [
        str(sample)
        for sample, name in zip(table[keys.SAMPLE_ID], table[keys.MASK], strict=True)
        if not (classes.table()[decode_labels(read_bytes(folder / name), folder / name)] > 0).any()
    ]
    print(f"masks    {folder / keys.MASKS}")
    print(f"table    {folder / TABLE_FILE}")
    if seen := int((table[SHARE] != "").sum()):
        print(
            f"warning  {seen} of {len(table)} samples, copies of them or others of their patients trained or "
            f"tuned the segmenter (column {SHARE}): their masks are better than those of new pictures."
        )
    if empty:
        print(
            f"warning  {len(empty)} masks are empty, which preprocess.crop=mask refuses: "
            f"{', '.join(empty[:SHOWN])}{', ...' if len(empty) > SHOWN else ''}"
        )
    words = [
        "data=table", f"data.path={folder / TABLE_FILE}", f"data.root={data.manifest.root}",
        f"data.mask_root={folder}", "preprocess.crop=mask", f"preprocess.segmenter={run.run_id}",
    ]  # fmt: skip
    print(f"train    python -m fibrolab.train {shlex.join(words)}")
