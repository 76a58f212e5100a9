"""Load weights from a file into a network, and report which tensors matched."""

import logging
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fibrolab.choices import unknown
from fibrolab.errors import WeightsError

State = dict[str, Tensor]
Adapter = Callable[[State], State]

CONTAINERS = ("state_dict", "model_state_dict", "model")  # where checkpoints of other tools keep the tensors
CHECKPOINT_STARTS = (b"PK", b"\x80")  # a zip archive; a bare pickle, as torch wrote before 1.6
COUNTER = "num_batches_tracked"  # a counter of batch norm, not a weight; many files lack it
SHOWN = 4  # keys listed in a message

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightsReport:
    """Keys of a network that a weights file filled.

    Attributes:
        path: The file.
        prefix: Prefix of the file's keys that the network's keys do not have, such as ``module.``.
        matched: Keys of the network that the file fills.
        missing: Keys of the network that are not in the file; they keep their initial values.
        unexpected: Keys of the file that the network does not have, such as another task's classifier.
        mismatched: A sentence for each key whose shape differs between file and network.
    """

    path: Path
    prefix: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    @property
    def total(self) -> int:
        """Number of tensors of the network, matched or not."""
        return len(self.matched) + len(self.missing) + len(self.mismatched)

    def __str__(self) -> str:
        lines = [f"{self.path.name}: {len(self.matched)} of {self.total} tensors of the network matched"]
        if self.missing:
            lines.append(f"  left at their initial values: {_shortened(self.missing)}")
        if self.unexpected:
            lines.append(f"  not used from the file: {_shortened(self.unexpected)}")
        return "\n".join(lines)


def load_weights(module: nn.Module, path: str | Path, adapt: Adapter | None = None) -> WeightsReport:
    """Fill `module` from a file; the values take the module's dtype and device.

    The keys may have any common prefix, so a checkpoint of a compiled, wrapped or larger network fits too.
    If a file holds the network twice, for example as two branches, ``PATH#PREFIX`` selects one. No code in
    the file is executed.

    Args:
        module: The network to fill, in place.
        path: A safetensors file, or a torch checkpoint of tensors only, at its top level or under
            ``state_dict``, ``model_state_dict`` or ``model``. The format is recognised by content, not by
            file name. ``PATH#PREFIX`` uses only the tensors under a prefix, such as ``network.branches.a``.
        adapt: Function that renames or reshapes the tensors of a foreign checkpoint before they are compared.

    Returns:
        Report of the keys that matched.

    Raises:
        WeightsError: The file is missing, broken or holds code; a shape differs; it has less than half of
            the network's tensors; or two prefixes fit equally well. The module is then unchanged.
    """
    path, start = _split_prefix(path)
    state = _under_prefix(read_state(path), start, path)
    wanted = module.state_dict()
    if adapt is not None:
        wrapper = _shared_prefix(state, wanted)
        state = adapt({key.removeprefix(wrapper): tensor for key, tensor in state.items()})
        start += wrapper
    prefix = _common_prefix(state, wanted, path)
    report = _compare(state, wanted, prefix, path)
    _require_fit(report, state, wanted)
    module.load_state_dict({key: state[prefix + key] for key in report.matched}, strict=False)
    report = replace(report, prefix=start + prefix)
    logger.info("%s", report)
    return report


def read_state(path: Path) -> State:
    """Read the named tensors of a safetensors file or a torch checkpoint, on the CPU.

    Raises:
        WeightsError: The file does not exist, cannot be read, holds code, or holds no tensors.
    """
    if not path.is_file():
        raise WeightsError(f"weights: there is no file {path}. Give a safetensors file or a checkpoint.")
    content = _read_safetensors(path) if _is_safetensors(path) else _read_checkpoint(path)
    for container in CONTAINERS:
        if isinstance(content, Mapping) and isinstance(content.get(container), Mapping):
            content = content[container]
            break
    tensors = content.items() if isinstance(content, Mapping) else ()
    state = {str(key): value for key, value in tensors if isinstance(value, Tensor)}
    if not state:
        raise WeightsError(
            f"weights: {path} holds no named tensors. "
            f"Save a network's state_dict(), bare or under one of: {', '.join(CONTAINERS)}."
        )
    return state


def _is_safetensors(path: Path) -> bool:
    """Return whether a file starts like safetensors: length of a JSON header (8 bytes), then the header."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError) as fault:
        raise WeightsError(f"weights: {path} is broken or cut short ({fault}). Copy it again.") from fault


def _read_checkpoint(path: Path) -> Any:
    try:
        with path.open("rb") as file:  # given a path, torch would decide by its suffix
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as fault:
        if not _opens_with(path, *CHECKPOINT_STARTS):
            raise WeightsError(_broken(path)) from fault
        raise WeightsError(
            f"weights: {path} holds pickled objects beside tensors, which could run any code. "
            "If you trust it, load it elsewhere and save its state_dict() alone."
        ) from fault
    except (RuntimeError, OSError, EOFError, ValueError, LookupError) as fault:
        raise WeightsError(_broken(path)) from fault


def _opens_with(path: Path, *starts: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(max(map(len, starts))).startswith(starts)


def _broken(path: Path) -> str:
    return (
        f"weights: {path} is not a safetensors file or torch checkpoint, or it is cut short. Copy it again."
    )


def _split_prefix(path: str | Path) -> tuple[Path, str]:
    """Split ``PATH#PREFIX``; a ``#`` in the name of an existing file does not split."""
    whole = Path(path).expanduser()
    name, mark, prefix = str(whole).rpartition("#")
    if whole.is_file() or not mark:
        return whole, ""
    return Path(name), f"{prefix.strip('.')}." if prefix else ""


def _under_prefix(state: State, prefix: str, path: Path) -> State:
    """Return the tensors whose keys start with `prefix`, with the prefix removed."""
    found = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    if not found:
        prefixes = {key[:end] for key in state for end, mark in enumerate(key) if mark == "."}
        raise WeightsError(f"weights: {path}: {unknown('prefix after #', prefix.strip('.'), prefixes)}")
    return found


def _shared_prefix(state: State, wanted: State) -> str:
    """Return the prefix that all keys of a file share and no key of the network has, such as ``module.``.

    It is removed before keys are translated, because translations match whole keys.
    """
    ours = tuple({f"{key.partition('.')[0]}." for key in wanted})
    wrapper, first = "", next(iter(state))
    while True:
        longer = f"{wrapper}{first.removeprefix(wrapper).partition('.')[0]}."
        shared = all(key.startswith(longer) for key in state)
        if not shared or longer.removeprefix(wrapper) in ours:
            return wrapper
        wrapper = longer


def _common_prefix(state: State, wanted: State, path: Path) -> str:
    """Return the prefix under which most keys of the file are keys of the network."""
    fits: Counter[str] = Counter()
    for key in state:
        parts = key.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in wanted:
                fits["".join(f"{part}." for part in parts[:cut])] += 1
    ranked = fits.most_common(2)
    if len(ranked) == 2 and ranked[0][1] == ranked[1][1] >= len(wanted) / 2:
        first, second = sorted(prefix for prefix, _ in ranked)
        raise WeightsError(
            f"weights: {path} holds the network twice, under '{first}' and under '{second}'. "
            "Save the state_dict() of one of them alone, or give PATH#PREFIX."
        )
    return ranked[0][0] if ranked else ""


def _compare(state: State, wanted: State, prefix: str, path: Path) -> WeightsReport:
    present = [key for key in wanted if prefix + key in state]
    differing = [key for key in present if state[prefix + key].shape != wanted[key].shape]
    used = {prefix + key for key in present}
    return WeightsReport(
        path=path,
        prefix=prefix,
        matched=tuple(key for key in present if key not in differing),
        missing=tuple(key for key in wanted if prefix + key not in state and not key.endswith(COUNTER)),
        unexpected=tuple(key for key in state if key not in used),
        mismatched=tuple(
            f"{key} is {_shape(state[prefix + key])} in the file and {_shape(wanted[key])} in the network"
            for key in differing
        ),
    )


def _require_fit(report: WeightsReport, state: State, wanted: State) -> None:
    if report.mismatched:
        raise WeightsError(
            f"weights: {report.path} is of another architecture: {_shortened(report.mismatched, '; ')}. "
            "Give weights of the configured backbone."
        )
    if 2 * len(report.matched) < report.total:
        raise WeightsError(
            f"weights: {report.path} fills {len(report.matched)} of the network's {report.total} tensors. "
            f"The network has {_shortened(wanted)}; the file has {_shortened(state)}. "
            "Give weights of the configured backbone."
        )


def _shortened(keys: Iterable[str], separator: str = ", ") -> str:
    names = list(keys)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return separator.join(names[:SHOWN]) + more


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
