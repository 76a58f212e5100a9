"""The exported network as a graph in a file: ONNX, PyTorch's exported program, and TorchScript.

All but TorchScript come from one trace by `torch.export`, with any number of samples in a batch.
"""

import contextlib
import io
import json
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from fibrolab.errors import ConfigError
from fibrolab.exporting.exported_network import ExportedNetwork
from fibrolab.exporting.parity import Answer
from fibrolab.storage import writing

KEY = "fibrolab"  # name of the metadata in an ONNX file
EXTRA_FILE = "fibrolab.json"  # and in the archive of an exported program
FAULTS = (OSError, RuntimeError)  # of a full disk: torch's writers raise RuntimeError
EXAMPLES = 2  # samples of the trace; one would fix the batch


class Graph(ABC):
    """A traced network that can be written with metadata.

    Attributes:
        file_name: Name of its file.
    """

    file_name: str

    @abstractmethod
    def save(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Write the graph and its metadata; StorageError if the disk is full."""

    @abstractmethod
    def load(self, path: Path) -> Answer:
        """Return the function that runs a written graph on the CPU."""


class OnnxGraph(Graph):
    """A network in ONNX.

    Args:
        network: The network.

    Raises:
        ConfigError: It cannot be traced or has an operation that ONNX lacks.
    """

    file_name = "model.onnx"

    def __init__(self, network: ExportedNetwork) -> None:
        program = traced(network)
        with quiet(), _explained("ONNX"):
            self._program: Any = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[entry.name for entry in network.entries],
                output_names=list(network.outputs),
                verbose=False,
            )
        self._names = [entry.name for entry in network.entries]

    def save(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Write the graph; of more than 2 GB, the weights go into a file beside it."""
        self._program.model.metadata_props[KEY] = json.dumps(metadata)
        with quiet(), writing(path, FAULTS):
            self._program.save(str(path))

    def load(self, path: Path) -> Answer:
        """Return the function that runs a written graph by ONNX Runtime, on as many threads as torch."""
        return onnx_answer(path, self._names)


class ProgramGraph(Graph):
    """A network as an exported program of PyTorch.

    Args:
        network: The network.

    Raises:
        ConfigError: It cannot be traced.
    """

    file_name = "model.pt2"

    def __init__(self, network: ExportedNetwork) -> None:
        self._program = traced(network)

    def save(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Write the program."""
        with quiet(), writing(path, FAULTS):
            torch.export.save(self._program, path, extra_files={EXTRA_FILE: json.dumps(metadata)})

    def load(self, path: Path) -> Answer:
        """Return the function that runs a written program."""
        with quiet():
            return torch_answer(torch.export.load(path).module())


class ScriptGraph(Graph):
    """Probabilities (B, K) of one modality in TorchScript, as MONAI's bundles hold networks.

    Args:
        network: The network.
        example: A batch of it, float32 in 0..255.

    Raises:
        ConfigError: It cannot be traced.
    """

    file_name = "model.ts"

    def __init__(self, network: ExportedNetwork, example: Tensor) -> None:
        with quiet(), _explained("TorchScript"), torch.no_grad():
            self._script: Any = torch.jit.trace(_Probabilities(network), example, check_trace=False)

    def save(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Write the script."""
        with quiet(), writing(path, FAULTS):
            self._script.save(str(path), _extra_files={EXTRA_FILE: json.dumps(metadata)})

    def load(self, path: Path) -> Answer:
        """Return the function that runs a written script; it has one output."""
        with quiet():
            return torch_answer(torch.jit.load(str(path), map_location="cpu"))


class _Probabilities(nn.Module):
    def __init__(self, network: ExportedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.network(images)[0]
        return found


def traced(network: ExportedNetwork) -> ExportedProgram:
    """Trace a network for batches of any size.

    Raises:
        ConfigError: It cannot be traced.
    """
    example = tuple(entry.blank(EXAMPLES) for entry in network.entries)
    batch = Dim("batch")
    shapes = (tuple({0: batch} for _ in example),)  # forward(*values) has one argument, a tuple
    with quiet(), _explained("torch.export"):
        return torch.export.export(network, example, dynamic_shapes=shapes, strict=False)


def torch_answer(module: Any) -> Answer:
    """Return the function that runs a torch module on the entries of a batch."""

    def answer(values: Sequence[Tensor]) -> list[np.ndarray]:
        with torch.no_grad():
            found = module(*values)
        return [each.numpy() for each in ([found] if isinstance(found, Tensor) else found)]

    return answer


def onnx_answer(path: Path, names: Sequence[str]) -> Answer:
    """Return the function that runs an ONNX file on the CPU, on as many threads as torch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def answer(values: Sequence[Tensor]) -> list[np.ndarray]:
        given = {name: value.numpy() for name, value in zip(names, values, strict=True)}
        return list(session.run(None, given))

    return answer


@contextlib.contextmanager
def _explained(target: str) -> Iterator[None]:
    """Raise any error of a tracer, which has no common class, as a sentence of ours."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__ or error
        reason = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        raise ConfigError(
            f"The network cannot be exported by {target} ({reason[:300]}): choose another format, or change "
            "the part of the network that the reason names."
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress lines, log and warnings of tracers and quantisers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
