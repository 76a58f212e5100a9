"""Check of a model's inputs against its samples, in training and of new ones."""

from collections.abc import Sequence

import numpy as np

from fibrolab import keys
from fibrolab.data import clinical
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest


def input_faults(data: LabelledData, inputs: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return sentences on inputs that the data lacks, or else on samples that have none of the inputs.

    In a training, some training sample must have each input. New samples of a trained network need a column
    for it, whose cells may be empty.

    Args:
        data: The samples.
        inputs: Modalities that the model takes.
        columns: Clinical columns that it takes.

    Raises:
        ConfigError: A column is not clinical.
    """
    values = clinical.measured(data.manifest.table, columns)
    learns = len(data.split.rows(keys.TRAIN)) > 0
    faults = _unlearnable(data, inputs, columns) if learns else lacking(data.manifest, inputs, columns)
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
    unknown = [name for name in (*inputs, *columns) if name not in manifest.table]
    if not unknown:
        return []
    known = [*_available(manifest), *clinical.known(manifest.table)]
    return [
        f"The network takes {', '.join(unknown)}, and '{manifest.name}' has no such column. It has: "
        f"{', '.join(known)}. Add the column; a cell may be empty if the network has learnt to miss such a "
        "value."
    ]


def always_given(
    manifest: Manifest, inputs: Sequence[str], columns: Sequence[str], rows: np.ndarray
) -> list[str]:
    """Return the modalities and clinical columns of a model that none of some samples lacks.

    Args:
        manifest: N samples.
        inputs: Modalities that the model takes.
        columns: Clinical columns that it takes.
        rows: The samples, rows of the manifest, int64 (n,).
    """
    given = _given(manifest, (*inputs, *columns))
    return [name for name, has in given.items() if has[rows].all()]


def complete(manifest: Manifest, needed: Sequence[str]) -> np.ndarray:
    """Return which samples have all of these modalities and clinical columns, bool (N,)."""
    given = list(_given(manifest, needed).values())
    return np.logical_and.reduce([np.ones(len(manifest), bool), *given])


def without_needed(manifest: Manifest, needed: Sequence[str]) -> list[str]:
    """Return sentences on samples without an input that every training sample had.

    A network computes something without such an input too, but from weights that it has never learnt.

    Args:
        manifest: New samples.
        needed: Modalities and clinical columns (`always_given`).
    """
    return [
        f"The network needs {name}, which every sample of its training had; '{manifest.name}' has none for "
        f"{manifest.named(~has)}. Add it, leave out such samples, or train with some that lack {name}."
        for name, has in _given(manifest, needed).items()
        if not has.all()
    ]


def _given(manifest: Manifest, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return which samples have each of these modalities and clinical columns, bool (N,) by name."""
    measured = [name for name in names if name in clinical.COLUMNS]
    values = np.isfinite(clinical.measured(manifest.table, measured))
    columns = dict(zip(measured, values.T, strict=True))
    return {name: columns[name] if name in columns else manifest.present(name) for name in names}


def _unlearnable(data: LabelledData, inputs: Sequence[str], columns: Sequence[str]) -> list[str]:
    """Return sentences on inputs of a model that no training sample has."""
    manifest, rows = data.manifest, data.split.rows(keys.TRAIN)
    known, faults = clinical.known(manifest.table), []
    unknown = [name for name in inputs if not manifest.present(name).any()]
    unlearnt = [name for name in inputs if name not in unknown and not manifest.present(name)[rows].any()]
    if unknown:
        faults.append(
            f"The model takes {', '.join(unknown)}, which '{manifest.name}' does not have. It has: "
            f"{', '.join(_available(manifest))}."
        )
    if unlearnt:
        faults.append(
            f"The model takes {', '.join(unlearnt)}, which no training sample of '{manifest.name}' has: "
            "choose another split, or a model without it."
        )
    if unmeasured := [name for name in columns if name not in known]:
        faults.append(
            f"The model takes the clinical column(s) {', '.join(unmeasured)}, without any value in "
            f"'{manifest.name}'. It has values of: {', '.join(known) or 'none'}."
        )
    return faults


def _available(manifest: Manifest) -> list[str]:
    """Return the modalities of the samples in words, and whether there are masks."""
    masks = [keys.MASK] if manifest.present(keys.MASK).any() else []
    return [*manifest.modalities, *(f"{name} of some samples" for name in manifest.partly), *masks]
