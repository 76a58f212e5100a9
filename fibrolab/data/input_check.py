"""Check of a model's inputs against its samples, in training and of new ones."""

from collections.abc import Iterator, Sequence

import numpy as np

from fibrolab import keys
from fibrolab.data import clinical
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest


def input_faults(data: LabelledData, inputs: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return sentences on inputs that the data lacks, or else on samples that have none of the inputs.

    To learn an input, some sample must have it. New samples of a trained network need no more than the
    column: each may lack an input, and so may all of them.

    Args:
        data: The samples.
        inputs: Modalities that the model takes.
        columns: Clinical columns that it takes.

    Raises:
        ConfigError: A column is not clinical.
    """
    values = clinical.measured(data.manifest.table, columns)
    learns = len(data.split.rows(keys.TRAIN)) > 0
    faults = (_unlearnable if learns else lacking)(data.manifest, inputs, columns)
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
    """Return sentences on inputs of a trained network for which new samples have no column.

    Args:
        manifest: The samples.
        inputs: Modalities that the network takes.
        columns: Clinical columns that it takes.
    """
    unknown = [name for name in inputs if name not in manifest.table]
    unmeasured = [name for name in columns if name not in manifest.table]
    return list(_sentences(manifest, unknown, unmeasured))


def always_given(manifest: Manifest, inputs: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return the modalities and clinical columns of a model that no sample lacks.

    Args:
        manifest: The samples.
        inputs: Modalities that the model takes.
        columns: Clinical columns that it takes.
    """
    values = np.isfinite(clinical.measured(manifest.table, columns)).all(axis=0)
    measured = [name for name, always in zip(columns, values, strict=True) if always]
    return [*(name for name in inputs if manifest.has(name)), *measured]


def without_needed(manifest: Manifest, needed: Sequence[str]) -> list[str]:
    """Return sentences on samples without an input that no sample of the training lacked.

    A network computes something without such an input too, but from weights that it has never learnt.

    Args:
        manifest: New samples.
        needed: Modalities and clinical columns (`always_given`).
    """
    measured = [name for name in needed if name in clinical.COLUMNS]
    values = np.isfinite(clinical.measured(manifest.table, measured))
    given = dict(zip(measured, values.T, strict=True))
    absent = {name: ~given.get(name, manifest.present(name)) for name in needed}
    return [
        f"The network needs {name}, which every sample of its training had; '{manifest.name}' has none for "
        f"{manifest.named(rows)}. Add it, leave out such samples, or train with some that lack {name}, see "
        "Missing values in docs/models.md."
        for name, rows in absent.items()
        if rows.any()
    ]


def _unlearnable(manifest: Manifest, inputs: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return sentences on inputs of a model that no sample has."""
    unknown = [name for name in inputs if not manifest.present(name).any()]
    known = clinical.known(manifest.table)
    return list(_sentences(manifest, unknown, [name for name in columns if name not in known]))


def _sentences(manifest: Manifest, unknown: Sequence[str], unmeasured: Sequence[str]) -> Iterator[str]:
    if unknown:
        partly = (f"{name} of some samples" for name in manifest.partly)
        masks = (keys.MASK,) if manifest.present(keys.MASK).any() else ()
        available = (*manifest.modalities, *partly, *masks)
        yield (
            f"The model takes {', '.join(unknown)}, which '{manifest.name}' does not have. It has: "
            f"{', '.join(available)}."
        )
    if unmeasured:
        known = clinical.known(manifest.table)
        yield (
            f"The model takes the clinical column(s) {', '.join(unmeasured)}, without any value in "
            f"'{manifest.name}'. It has values of: {', '.join(known) or 'none'}."
        )
