"""The samples of a run, loaded again from its settings, and refused if they changed since."""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fibrolab import keys, privacy
from fibrolab.data import clinical
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.media import Media
from fibrolab.errors import DataError, listing
from fibrolab.loading import load
from fibrolab.runs.trained_run import TrainedRun

_OF_MASKS = f"{keys.MASK}_sha256"


def contents(data: LabelledData) -> dict[str, np.ndarray]:
    """Return the hashes of the elastograms, clips and masks, one per sample, as `MODALITY_sha256`.

    An elastogram is hashed as it is cut, a clip and a mask as its whole file; a sample without one has an
    empty text.
    """
    found = {
        f"{name}_sha256": facts["file_sha256" if name == keys.CLIP else "sha256"].to_numpy()
        for name, facts in data.facts.items()
        if name != keys.IMAGE
    }
    masks = data.manifest.masks()
    return found | {_OF_MASKS: _hashes(masks, len(data.manifest))} if masks else found


def _hashes(masks: Mapping[int, Media], samples: int) -> np.ndarray:
    """Return the SHA-256 of the file of each mask, (N,); empty for a sample without a readable one."""
    found, of_file = np.full(samples, "", object), dict[Path, str]()
    for row, mask in masks.items():
        if mask.path not in of_file:  # the frames of a film share one file
            of_file[mask.path] = ""
            with contextlib.suppress(OSError):  # what needs the masks refuses it
                of_file[mask.path] = hashlib.sha256(mask.path.read_bytes()).hexdigest()
        found[row] = of_file[mask.path]
    return found


def changes(data: LabelledData, before: pd.DataFrame, partitions: bool = True) -> list[str]:
    """Return a sentence on each difference between samples and those that a run recorded.

    Args:
        data: The samples as they are now.
        before: Rows of `TrainedRun.samples`.
        partitions: Whether their partitions and masks are compared too, as before the training goes on.
    """
    hashes, table = contents(data), data.manifest.table
    if not partitions or _OF_MASKS not in before:  # runs of an earlier version did not record them
        hashes.pop(_OF_MASKS, None)
    measured = [name for name in clinical.COLUMNS if name in before]
    compared = {"sha256": "image", keys.Y_TRUE: "class", keys.GROUP_ID: "group"}
    compared |= {keys.PARTITION: "partition"} if partitions else {}
    compared |= {name: name.partition("_")[0] for name in hashes} | {name: name for name in measured}
    before = before.reindex(columns=list(compared), fill_value="")
    now = pd.DataFrame(
        hashes
        | {name: table.get(name, pd.Series("", table.index)).to_numpy() for name in measured}
        | {
            "sha256": data.facts[keys.IMAGE]["sha256"].to_numpy(),
            keys.Y_TRUE: data.labels,
            keys.GROUP_ID: data.manifest.groups,
            keys.PARTITION: data.split.partitions,
        },
        index=pd.Index(data.manifest.table[keys.SAMPLE_ID], name=keys.SAMPLE_ID),
    )
    both = before.index.intersection(now.index)
    found = {"added": now.index.difference(both), "missing": before.index.difference(both)}
    for column, word in compared.items():
        other = _texts(before.loc[both, column]) != _texts(now.loc[both, column])
        found[f"with another {word}"] = both[other.to_numpy()]
    return [f"{sample}: {change}" for change, samples in found.items() for sample in samples]


def _texts(values: pd.Series) -> pd.Series:
    """Return values as text, missing ones as an empty text."""
    return values.astype(object).fillna("").astype(str)


def reloaded(run: TrainedRun, cache: Path) -> LabelledData:
    """Load the data set of a run again.

    Args:
        run: A run of a training or an external evaluation.
        cache: Folder of the surveys of files.

    Raises:
        FibrolabError: The files are no longer there, or have faults.
    """
    settings = run.config.copy()
    settings.paths.cache = str(cache)
    return load(settings, ids_key=privacy.ids_key(settings))


def chosen(data: LabelledData, run: TrainedRun, samples: Sequence[str]) -> LabelledData:
    """Return some samples of a run, in this order.

    Raises:
        DataError: They changed since the run, or are missing.
    """
    rows = data.manifest.table[keys.SAMPLE_ID].reset_index().set_index(keys.SAMPLE_ID)["index"]
    known = [sample for sample in samples if sample in rows.index]
    found = data.subset(rows.loc[known].to_numpy())
    if faults := changes(found, run.samples.loc[list(samples)], partitions=False):
        raise DataError(
            f"The data changed since {run.name[0].lower()}{run.name[1:]}, in {len(faults)} ways:\n"
            f"{listing(faults)}\nRestore the data; or give the pictures as they are now by input=PATH."
        )
    return found
