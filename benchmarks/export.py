"""Latency of ONNX on a CPU against the same network in torch, and their largest difference, by family.

    python -m benchmarks.export
    python -m benchmarks.export --size 32 --samples 4

Networks with random weights stand for the families of a run: one backbone, two with a fusion, frames averaged
or read by an LSTM, a 2D network inflated to 3D, a 3D network, several modalities with clinical values. Prints
the median latency [ms] of batches of 1, 4 and 16, the ratio of ONNX to torch, the seconds of the export, and
the largest difference of an output.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fibrolab import keys
from fibrolab.exporting import graphs, latency, parity
from fibrolab.exporting.exported_network import ExportedNetwork
from fibrolab.modules.classifiers import (
    HybridClassifier,
    MultimodalClassifier,
    SingleClassifier,
    VideoClassifier,
)
from fibrolab.runs.answering import Rules
from fibrolab.runs.checkpoint import Predictor

CLASSES = ["F0", "F1", "F2", "F3", "F4"]
RULES = Rules(tuple(CLASSES), True, {"ge_F2": 2}, {}, 1.5, 0.1, 0.9)
FRAMES = 8
LSM = {"columns": ["lsm_kpa"], "mean": [2.0], "sd": [0.7]}


def families(backbone: str) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Return class and settings of a small network of each family."""
    image = {"name": backbone}

    def film(**frames: Any) -> dict[str, Any]:
        return {"branches": {"clip": {**image, "input": "clip", "frames": frames}}}

    several = {
        "grey": image,
        "swe": {**image, "input": "elastogram"},
        "table": {"input": "clinical", "columns": ["lsm_kpa"]},
    }
    return {
        "single": (SingleClassifier, {"branches": {"image": image}}),
        "hybrid": (HybridClassifier, {"branches": {"a": image, "b": image}}),
        "average": (VideoClassifier, film(name="average")),
        "lstm": (VideoClassifier, film(name="lstm")),
        "inflated": (VideoClassifier, film(name="inflated")),
        "r3d_18": (VideoClassifier, {"branches": {"clip": {"name": "r3d_18", "input": "clip"}}}),
        "multimodal": (MultimodalClassifier, {"branches": several, "clinical": LSM}),
    }


def network(kind: Any, settings: dict[str, Any], size: int) -> ExportedNetwork:
    """Return a network of a family as it is exported."""
    module = kind(
        **settings,
        head={},
        classes=CLASSES,
        class_counts=[1] * len(CLASSES),
        image_size=size,
        loss={"name": "cross_entropy"},
        optimizer={"name": "SGD", "lr": 0.01},
        scheduler={"name": "constant"},
    )
    record = {"preprocess": {"size": size}, "segment": {"length": FRAMES}, "decode": {}, "classes": CLASSES}
    return ExportedNetwork([Predictor(Path("best.ckpt"), module.eval(), record)], RULES)


def samples(exported: ExportedNetwork, number: int) -> list[Tensor]:
    """Return noise, and clinical values of which every second one is missing."""
    rng, found = np.random.default_rng(0), []
    for entry in exported.entries:
        value = entry.blank(number)
        if entry.dtype == "uint8":
            value = torch.from_numpy(rng.integers(0, 256, value.shape, dtype=np.uint8))
        elif entry.name == keys.CLINICAL:
            value[::2] = 8.0
        elif entry.name == keys.present(keys.ELASTOGRAM):
            value[1::2] = False
        found.append(value)
    return found


def main() -> None:
    """Print a line a family and batch size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="side of the images [px]")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--families", nargs="*", help="all by default")
    given = parser.parse_args()
    torch.manual_seed(0)
    print("family       batch   onnx ms  torch ms  ratio  difference  export s")
    known = families(given.backbone)
    for name in given.families or known:
        exported = network(*known[name], given.size)
        values, started = samples(exported, given.samples), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            graph = graphs.OnnxGraph(exported)
            path = Path(folder) / graph.file_name
            graph.save(path, {})
            seconds = time.perf_counter() - started
            answer, own = graph.load(path), graphs.torch_answer(exported)
            apart = parity.difference(answer(values), [each.astype(np.float64) for each in own(values)])
            table = latency.measure(answer, own, values)
        for row in table.to_dict("records"):
            print(
                f"{name:<12}{row['batch']:>6.0f}{row['artifact_ms']:>10.2f}{row['torch_ms']:>10.2f}"
                f"{row['ratio']:>7.2f}{apart:>12.1e}{seconds:>10.1f}"
            )


if __name__ == "__main__":
    main()
