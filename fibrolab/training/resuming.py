"""Check that a training can be resumed from a checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fibrolab import keys
from fibrolab.command_line import flat
from fibrolab.errors import ConfigError, SplitError, listing
from fibrolab.modules.base import Classifier
from fibrolab.runs.checkpoint import KEY, SPLIT, UNREADABLE, split_digest


def check_resumable(path: Path, module: Classifier, folder: Path) -> None:
    """Refuse a checkpoint unless it holds the full state of a run with the same settings and split.

    Args:
        path: The checkpoint.
        module: The module to be trained.
        folder: Folder of this run; it holds the split.

    Raises:
        ConfigError: The file is not a checkpoint, holds only weights, or is from another model.
        SplitError: The earlier run had another split, so it may have trained on this run's test patients.
    """
    checkpoint = _read(path)
    if not {"optimizer_states", "hyper_parameters"} <= set(checkpoint):
        raise ConfigError(f"resume={path} holds only weights; give the last.ckpt of a run.")
    theirs, ours = flat(dict(checkpoint["hyper_parameters"])), flat(dict(module.hparams))
    differing = [
        f"{name} was {theirs.get(name)}, is {ours.get(name)}"
        for name in {**ours, **theirs}
        if theirs.get(name) != ours.get(name)
    ]
    if differing:
        raise ConfigError(
            f"resume={path} is from a run with other settings:\n{listing(differing)}\n"
            "Use the settings of that run."
        )
    if checkpoint.get(KEY, {}).get(SPLIT) != split_digest(folder / keys.SPLIT_FILE):
        raise SplitError(
            f"resume={path} is from a run with another split, which may have trained on this run's test set. "
            "Use the data, the split and the seed of that run."
        )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except UNREADABLE as fault:
        raise ConfigError(
            f"resume={path} is not a checkpoint, or it is broken; give the last.ckpt of a run."
        ) from fault
    return found if isinstance(found, Mapping) else {}
