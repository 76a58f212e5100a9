"""Write the checkpoints of a training, each with the record by which it suffices to predict."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO

from fibrolab import keys
from fibrolab.runs.checkpoint import KEY, SEGMENTER_KEY, save


class RecordedCheckpoints(TorchCheckpointIO):
    """Store a record in every checkpoint that the trainer writes, with the whole state or weights only.

    A file is written beside the earlier one and then renamed, so that after a kill or on a full disk the
    earlier one is there. Lightning's own writer makes two copies in memory, goes through the folder of
    temporary files, and copies from there if that is on another file system. The `last.ckpt` before the
    present one is kept as `previous.ckpt`.

    Args:
        record: As `runs.checkpoint.described` returns it.
        segmenter: Checkpoint of the segmenter that the others hold, if the file exists.
    """

    def __init__(self, record: Mapping[str, Any], segmenter: Path | None = None) -> None:
        super().__init__()
        self._added: dict[str, Any] = {KEY: dict(record)}
        if segmenter is not None and segmenter.is_file():
            content = np.frombuffer(segmenter.read_bytes(), np.uint8).copy()
            self._added[SEGMENTER_KEY] = torch.from_numpy(content)

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the checkpoint with the record; StorageError if the disk is full."""
        path = Path(path)
        if path.name == keys.LAST and path.is_file():
            _keep(path, path.with_name(keys.PREVIOUS))
        save({**checkpoint, **self._added}, path)


def _keep(last: Path, previous: Path) -> None:
    """Give a file a second name, under which it remains when another file takes its first one."""
    previous.unlink(missing_ok=True)
    try:
        previous.hardlink_to(last)
    except OSError:  # a file system without hard links
        last.replace(previous)
