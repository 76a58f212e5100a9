"""Write the checkpoints of a training while it goes on, each with the record that suffices to predict."""

import copy
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

from fibrolab import keys
from fibrolab.runs.checkpoint import KEY, SEGMENTER_KEY, save

PENDING = 2  # copies of the state in memory: one that is being written, and one that waits


class RecordedCheckpoints(TorchCheckpointIO):
    """Store a record in every checkpoint that the trainer writes, with the whole state or weights only.

    The training waits for a copy of the state in memory. A thread writes the copy, in the order of the
    checkpoints, beside the earlier file, which it then replaces by renaming: after a kill or on a full disk
    the earlier one is there. The `last.ckpt` before the present one is kept as `previous.ckpt`. What loads or
    removes a checkpoint waits for the writes before it, and so does the end of the training in any way.

    Lightning's `AsyncCheckpointIO` (2.6) is not used: it sets no limit to the copies that wait, copies
    tensors of a GPU on the GPU, goes on after a write that failed, and lets a checkpoint be loaded or removed
    while it is written. Lightning's writer makes two further copies and goes through the folder of temporary
    files.

    Args:
        record: As `runs.training_record.described` returns it.
        segmenter: Checkpoint of the segmenter that the others hold, if the file exists.
        waits: Whether the training waits for every write, because something reads each file at once.
    """

    def __init__(self, record: Mapping[str, Any], segmenter: Path | None = None, waits: bool = False) -> None:
        super().__init__()
        self._added: dict[str, Any] = {KEY: dict(record)}
        if segmenter is not None and segmenter.is_file():
            content = np.frombuffer(segmenter.read_bytes(), np.uint8).copy()
            self._added[SEGMENTER_KEY] = torch.from_numpy(content)
        self._allowed = 0 if waits else PENDING
        self._writes: deque[_Write] = deque()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Copy the checkpoint and begin to write it; StorageError if this or an earlier write has failed."""
        self._await(PENDING - 1)
        earlier = self._writes[-1] if self._writes else None
        write = _Write(_copied(checkpoint) | self._added, Path(path), earlier)
        write.start()
        self._writes.append(write)
        self._await(self._allowed)

    def load_checkpoint(self, path: Any, *given: Any, **named: Any) -> dict[str, Any]:
        """Load a checkpoint when all are written."""
        self._await()
        return super().load_checkpoint(path, *given, **named)

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint when all are written."""
        self._await()
        super().remove_checkpoint(path)

    def teardown(self) -> None:
        """Wait until all checkpoints are written.

        Raises:
            StorageError: The disk is full.
        """
        self._await()

    def _await(self, pending: int = 0) -> None:
        """Wait until at most so many checkpoints are to be written; raise the fault of one that was not."""
        while self._writes and (len(self._writes) > pending or not self._writes[0].is_alive()):
            self._writes[0].join()
            if fault := self._writes.popleft().fault:
                while self._writes:  # which have taken it over
                    self._writes.popleft().join()
                raise fault


class _Write(threading.Thread):
    """Write a checkpoint after an earlier one; if that failed, write nothing and take over its fault.

    A `last.ckpt` names the best epoch, whose checkpoint was written before it.
    """

    def __init__(self, content: dict[str, Any], path: Path, earlier: "_Write | None") -> None:
        super().__init__(name=f"write {path.name}")
        self._content, self._path, self._earlier = content, path, earlier
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            if self._earlier is not None:
                self._earlier.join()
                self.fault, self._earlier = self._earlier.fault, None
            if self.fault is None:
                if self._path.name == keys.LAST and self._path.is_file():
                    _keep(self._path, self._path.with_name(keys.PREVIOUS))
                save(self._content, self._path)
        except BaseException as fault:
            self.fault = fault
        self._content = {}


def _copied(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a copy that no later step of the training changes, with all tensors on the CPU."""
    moved = {
        id(tensor): tensor.detach().to("cpu", copy=True)
        for tensor in _tensors(checkpoint)
        if tensor.device.type != "cpu" or not tensor.is_leaf  # which `deepcopy` would refuse
    }
    return copy.deepcopy(checkpoint, moved)  # tensors that share memory do so in the copy


def _tensors(part: Any) -> Iterator[Tensor]:
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, Mapping | list | tuple):
        for each in part.values() if isinstance(part, Mapping) else part:
            yield from _tensors(each)


def _keep(last: Path, previous: Path) -> None:
    """Give a file a second name, under which it remains when another file takes its first one."""
    previous.unlink(missing_ok=True)
    try:
        previous.hardlink_to(last)
    except OSError:  # a file system without hard links
        last.replace(previous)
