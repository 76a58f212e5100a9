"""Tests of the maps of a finished run: a table with verdicts in words, and findings for the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fibrolab import keys

if TYPE_CHECKING:
    from torch import Tensor

    from fibrolab.data.audit.finding import Finding
    from fibrolab.data.labelled_data import LabelledData
    from fibrolab.explanation.map_batches import Request
    from fibrolab.explanation.target_scores import Task
    from fibrolab.runs.checkpoint import Predictor

OTHER_NETWORKS = 2  # with which maps are compared: each adds one map to the cost of the tests


def write_tests(
    folder: Path,
    networks: "Sequence[Predictor]",
    data: "LabelledData",
    request: "Request",
    task: "Task",
    cache: Path,
    device: str,
    total: int = 1,
) -> "tuple[pd.DataFrame, list[Finding]]":
    """Test the maps of a run's first network on a few of the explained samples, and write the results.

    Args:
        folder: Folder of the explanation.
        networks: The networks that explain the samples; the others are used for reproducibility.
        data: The explained samples; at most `testing.MOST` of them are tested.
        request: Methods, branches, layer and target.
        task: Loss, classes and end points of the first network.
        cache: Folder for preprocessed pixels.
        device: Device, such as `cpu`.
        total: Number of networks of the run; of several, each verdict says how much was tested.

    Returns:
        As of `testing.run_tests`.

    Raises:
        DataError: A mask cannot be read, or is not as large as its picture.
        StorageError: The folder cannot be written, or the disk is full.
    """
    from fibrolab.data.audit.finding import counted
    from fibrolab.explanation import testing, verdicts

    chosen = data.subset(np.array(testing.rows_to_test(len(data.manifest))))
    module, *others = (each.classifier.to(device).eval() for each in networks[: 1 + OTHER_NETWORKS])
    loaded = networks[0].datamodule(chosen, cache)
    loaded.prepare_data()
    batches = [
        {name: value.to(device) for name, value in batch.items()} for batch in loaded.test_dataloader()
    ]
    rows = np.concatenate([batch[keys.INDEX].cpu().numpy() for batch in batches])
    groups = chosen.manifest.table[keys.GROUP_ID].to_numpy(str)[rows]
    regions = {name: region[rows] for name, region in true_regions(chosen, networks[0]).items()}
    selection = testing.selected(module, task, request.target, batches, groups.tolist(), regions)
    methods = testing.explainers(request.methods, request.branches, request.layer)
    table, findings = testing.run_tests(module, selection, methods, others)
    if total > 1:
        tested = f" Tested: {counted(len(rows), 'sample')} of one of {total} networks."
        table.loc[table["test"] == verdicts.VERDICT, "sentence"] += tested
    testing.write(folder, table, findings)
    return table, findings


def true_regions(data: "LabelledData", network: "Predictor") -> "dict[str, Tensor]":
    """Return the regions of the samples' true masks in the geometry of the network's input, bool (N, S, S).

    A mask with one label is one region; each label of a label map is a region of its own. A sample without
    a mask has empty regions. Masks to which the pictures are cropped may be a segmenter's, and leave nothing
    outside where heat could lie: there are no regions.

    Raises:
        UnreadableImageError: A mask cannot be read, or is not as large as its picture.
    """
    import torch

    from fibrolab.data import masks
    from fibrolab.data.preprocess import Preprocess

    manifest, preprocess = data.manifest, Preprocess(**network.record["preprocess"])
    if preprocess.crop == "mask":
        return {}
    of_masks = preprocess.of_masks()
    levels = np.zeros((len(manifest), *of_masks.shape), dtype=np.uint8)
    reader = masks.Reader()
    for row, media in manifest.masks().items():
        labelled = reader.labelled(media)
        levels[row] = of_masks.mask(labelled.labels, labelled.image)
    found = [int(level) for level in np.unique(levels) if level]
    names = (
        {level: f"label {level} of the mask" for level in found}
        if len(found) > 1
        else dict.fromkeys(found, "the mask")
    )
    return {name: torch.from_numpy(levels == level) for level, name in names.items()}
