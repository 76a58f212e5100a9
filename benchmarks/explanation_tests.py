"""Attribution methods on phantoms: which find the tissue that carries the stage, and which a shortcut.

    python -m benchmarks.explanation_tests
    python -m benchmarks.explanation_tests --patients 60 --epochs 4 --methods gradcam     # quicker

Two networks are trained on phantoms with true masks: in one data set the text that a scanner burns into the
picture reveals the stage of every patient, in the other it says nothing. In both, the stage changes the
texture of the liver and its capsule. What each network uses is known from its accuracy on test pictures
without the text, and on those that keep nothing else. Each method then explains the predicted class of at
most 32 test pictures, one a patient. A region is found if more of the heat lies in it than in an even map
and than in a centre-weighted one: the 95 % intervals of both mean differences, by a bootstrap over patients,
lie above 0.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fibrolab import keys
from fibrolab.data.readers import decode_labels, read_image
from fibrolab.explanation import verdicts
from fibrolab.explanation.attribution import METHODS
from fibrolab.explanation.target_scores import Task
from fibrolab.explanation.testing import (
    CENTRE,
    EVEN,
    Selection,
    explainers,
    rows_to_test,
    run_tests,
    selected,
)
from fibrolab.modules.base import Batch, Classifier
from fibrolab.phantom import preset_text, tissue
from fibrolab.phantom.source import load_masks

CLASSES = ["F0", "F1", "F2", "F3", "F4"]
TISSUE, TEXT = "liver and capsule", "burned-in text"
BATCH, TEST = 32, 4  # every fourth patient is tested


class Pictures(NamedTuple):
    """Pictures and true masks uint8 (N, 1, S, S), stages (N,), and the names of the patients (N,)."""

    images: Tensor
    masks: Tensor
    stages: Tensor
    patients: np.ndarray

    def rows(self, rows: np.ndarray) -> "Pictures":
        """Return some of them."""
        return Pictures(self.images[rows], self.masks[rows], self.stages[rows], self.patients[rows])


def pictures(folder: Path, patients: int, size: int, marker: float) -> tuple[Pictures, Pictures]:
    """Draw the phantoms; return those of training, and of the test, with one picture of each test patient."""
    manifest = load_masks(root=folder, patients=patients, size=size, marker=marker)
    images = np.stack([read_image(item.path) for item in manifest.media()])
    masks = np.stack([decode_labels(item.path.read_bytes(), item.path) for item in manifest.masks().values()])
    names = manifest.table[keys.PATIENT_ID].to_numpy(str)
    first = ~manifest.table[keys.PATIENT_ID].duplicated().to_numpy()
    tested = np.unique(names, return_inverse=True)[1] % TEST == 0
    grey, labels = torch.tensor(images[:, None]), torch.tensor(masks[:, None])
    whole = Pictures(grey, labels, torch.tensor(manifest.labels), names)
    return whole.rows(np.flatnonzero(~tested)), whole.rows(np.flatnonzero(tested & first))


def trained(data: Pictures, backbone: str, epochs: int, rate: float) -> Classifier:
    """Train a network on the stages, with a largest learning rate."""
    torch.manual_seed(0)
    size = data.images.shape[-1]
    module = Classifier(
        branches={"image": {"name": backbone}}, head={}, classes=CLASSES,
        class_counts=torch.bincount(data.stages, minlength=len(CLASSES)).tolist(), image_size=size,
        loss={"name": "cross_entropy"}, optimizer={"name": "AdamW", "lr": rate},
        scheduler={"name": "constant"},
    )  # fmt: skip
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate)
    steps = epochs * -(-len(data.stages) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(data.stages)).split(BATCH):
            optimizer.zero_grad()
            module.criterion(module({keys.IMAGE: data.images[rows]}), data.stages[rows]).backward()
            optimizer.step()
            schedule.step()
    return module.eval()


@torch.no_grad()
def accuracy(module: Classifier, images: Tensor, stages: Tensor) -> float:
    """Return the proportion of right predictions."""
    return float((module({keys.IMAGE: images}).argmax(1) == stages).float().mean())


def selection(module: Classifier, data: Pictures) -> Selection:
    """Return the tested pictures, with the predicted class as target and both regions."""
    chosen = data.rows(np.array(rows_to_test(len(data.stages))))
    batches: list[Batch] = [
        {keys.IMAGE: images, keys.LABEL: stages}
        for images, stages in zip(chosen.images.split(BATCH), chosen.stages.split(BATCH), strict=True)
    ]
    masks = chosen.masks[:, 0]
    regions = {
        TISSUE: (masks == tissue.LIVER) | (masks == tissue.CAPSULE),
        TEXT: masks == preset_text.TEXT,
    }
    task = Task(module.criterion, CLASSES)
    return selected(module, task, "predicted", batches, chosen.patients.tolist(), regions)


def explained(marker: float, folder: Path, arguments: argparse.Namespace) -> None:
    """Train on one data set, print what the network uses, and what each method finds."""
    training, test = pictures(folder, arguments.patients, arguments.size, marker)
    module = trained(training, arguments.backbone, arguments.epochs, arguments.rate)
    is_text = test.masks == preset_text.TEXT
    score = partial(accuracy, module, stages=test.stages)
    print(
        f"\nText reveals the stage of {marker:.0%} of the patients. Accuracy on {len(test.stages)} test "
        f"pictures: {score(test.images):.2f}; without the text {score(test.images * ~is_text):.2f}; "
        f"the text alone {score(test.images * is_text):.2f}."
    )
    start = time.perf_counter()
    table, findings = run_tests(
        module, selection(module, test), explainers(arguments.methods, ["image"], arguments.layer)
    )
    print(summary(table).to_string(float_format="{:.2f}".format))
    for sentence in table[table.test == verdicts.VERDICT].sentence:
        print(f"- {sentence}")
    print(*(f"{each.level}: {each.sentence}" for each in findings if each.key.startswith("heat")), sep="\n")
    print(f"{time.perf_counter() - start:.0f} s for {len(arguments.methods)} methods")
    if arguments.csv:
        table.to_csv(arguments.csv / f"marker_{marker:.0f}.csv", index=False)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row a method and region: the proportion of the heat in it, beside that of an even map."""
    rows = {}
    for method in table.method.unique():
        measures = table[table.method == method].set_index("measure")
        for region in (TISSUE, TEXT):
            inside, beside = (measures.loc[f"energy inside, {region}, {name}"] for name in (EVEN, CENTRE))
            rows[METHODS[method].label, region] = {
                "heat": inside.value,
                "low": inside.low,
                "high": inside.high,
                "even map": inside.reference,
                "centre": beside.reference,
                "pointing game": measures.loc[f"pointing game, {region}, {EVEN}"].value,
                "found": "yes" if inside.passed and beside.passed else "no",
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rate", type=float, default=2e-3, help="largest learning rate")
    parser.add_argument("--backbone", default="test_resnet")
    parser.add_argument(
        "--methods", nargs="+", default=[name for name in METHODS if name != "attention_rollout"]
    )
    parser.add_argument("--layer", help="layer of class activation maps; by default the last one with a map")
    parser.add_argument("--csv", type=Path, help="folder for the complete tables")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for marker in (0.0, 1.0):
            explained(marker, Path(folder), arguments)


if __name__ == "__main__":
    main()
