"""Check of a model's inputs against the data set."""

from collections.abc import Iterator, Sequence

import numpy as np

from fibrolab import keys
from fibrolab.data import clinical
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest


def input_faults(data: LabelledData, inputs: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return sentences on inputs that no sample has, or else on samples that have none of the inputs.

    Args:
        data: The samples.
        inputs: Modalities that the model takes.
        columns: Clinical columns that it takes.

    Raises:
        ConfigError: A column that is not clinical.
    """
    values = clinical.measured(data.manifest.table, columns)
    faults = lacking(data.manifest, inputs, columns)
    if faults:
        return faults
    has_input = np.isfinite(values).any(axis=1)
    for name in inputs:
        if name != keys.MASK:  # a mask is a target of training, not an input
            has_input |= data.manifest.present(name)
    if has_input.all():
        return []
    return [
        f"The model takes {' and '.join((*inputs, *columns))}; '{data.manifest.name}' has none of these for "
        f"{data.manifest.named(~has_input)}: leave them out, or choose a model with other inputs."
    ]


def lacking(manifest: Manifest, inputs: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return sentences on inputs of a model that no sample has.

    Args:
        manifest: The samples.
        inputs: Modalities that the model takes.
        columns: Clinical columns that it takes.
    """
    return [*_unknown(manifest, inputs), *_unmeasured(manifest, columns)]


def _unknown(manifest: Manifest, inputs: Sequence[str]) -> Iterator[str]:
    if unknown := [name for name in inputs if not manifest.present(name).any()]:
        partly = (f"{name} of some samples" for name in manifest.partly)
        masks = (keys.MASK,) if manifest.present(keys.MASK).any() else ()
        available = (*manifest.modalities, *partly, *masks)
        yield (
            f"The model takes {', '.join(unknown)}, which '{manifest.name}' does not have. It has: "
            f"{', '.join(available)}."
        )


def _unmeasured(manifest: Manifest, columns: Sequence[str]) -> Iterator[str]:
    known = clinical.known(manifest.table)
    if empty := [name for name in columns if name not in known]:
        yield (
            f"The model takes the clinical column(s) {', '.join(empty)}, without any value in "
            f"'{manifest.name}'. It has values of: {', '.join(known) or 'none'}."
        )
