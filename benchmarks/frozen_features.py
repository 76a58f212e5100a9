"""Training on a frozen backbone: run in every epoch, against features computed once, on the CPU.

    python -m benchmarks.frozen_features --data DIR [--epochs 10] [--image-size 96] [--backbone resnet18]

DIR is the Kaggle set, folders F0 .. F4. Both trainings are those of `fibrolab.train` with model=single and
augment=none: the same initial weights and batches, the Lightning Trainer with the default config, all its
callbacks, the curves in an MLflow database, and predictions at the end. Timed is everything after the
datamodule; for the second training this includes reading the pixels and computing, writing and checking the
features. The pixels are preprocessed before, and a short training is a warm-up.

The ratio of the durations is printed, and the largest difference between the predictions of both.
"""

import argparse
import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.config import VERSION_BASE, folder, resolved
from fibrolab.data import splits
from fibrolab.data.labelled_data import LabelledData
from fibrolab.evaluation import predictions
from fibrolab.loading import load
from fibrolab.tracking import track
from fibrolab.training import building, fitting, frozen_features


@dataclass
class Measured:
    """One training.

    Attributes:
        caching: Duration of the caching [s].
        training: Duration of training and prediction [s].
        probabilities: Probabilities of all validation and test samples (n, K).
    """

    caching: float
    training: float
    probabilities: np.ndarray

    @property
    def whole(self) -> float:
        """Both durations [s]."""
        return self.caching + self.training


def config(options: argparse.Namespace, root: str, *more: str) -> DictConfig:
    """Compose the settings of `fibrolab.train`."""
    overrides = [
        "data=kaggle_fibrosis", f"data.root={options.data}", f"paths.root={root}",
        f"preprocess.size={options.image_size}", "augment=none",
        f"backbone@model.branches.image={options.backbone}", "model.branches.image.freeze=all",
        "pretrained=false",
        "callbacks.early_stopping=null", f"trainer.max_epochs={options.epochs}", "trainer.accelerator=cpu",
        "num_workers=0", *options.overrides, *more,
    ]  # fmt: skip
    with initialize_config_dir(str(folder()), version_base=VERSION_BASE):
        return compose("train", overrides)


def trained(settings: DictConfig, data: LabelledData, cache: bool) -> Measured:
    """Train once, timed from the module to the predictions."""
    with track(**resolved(settings.tracking), name="frozen features", tags={}) as tracked:
        module = building.build_module(settings, data)
        datamodule = fitting.build_datamodule(settings, data, module)
        datamodule.prepare_data()
        start = time.perf_counter()
        if cache:
            frozen_features.cache_features(module, datamodule, Path(settings.paths.cache), accelerator="cpu")
        caching = time.perf_counter() - start
        splits.write(data.split, data.manifest, tracked.folder / keys.SPLIT_FILE)  # which checkpoints name
        fitting.fit(settings, module, datamodule, data, tracked)
        training = time.perf_counter() - start - caching
        table = predictions.read(tracked.folder / keys.PREDICTIONS_FILE)
    return Measured(caching, training, predictions.probabilities(table))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", help="further settings, such as batch_size=64")
    parser.add_argument("--data", required=True, help="folder that holds F0 .. F4")
    parser.add_argument("--backbone", default="resnet18", help="a file of conf/backbone")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as root:
        settings = config(options, root)
        data = load(settings)
        trained(
            config(options, root, "trainer.max_epochs=1", "+trainer.limit_train_batches=2"), data, cache=False
        )
        plain, once = (trained(settings, data, cache) for cache in (False, True))
    distinct = data.facts[keys.IMAGE]["sha256"].nunique()
    apart = np.abs(plain.probabilities - once.probabilities).max()
    print(
        f"{options.backbone}, {options.image_size} px, {options.epochs} epochs, {len(data.labels)} images of "
        f"which {distinct} are distinct"
    )
    print(f"{'run in every epoch':20} {plain.whole:8.1f} s")
    parts = f"caching {once.caching:.1f}, training {once.training:.1f}"
    print(f"{'features cached':20} {once.whole:8.1f} s   ({parts})")
    print(f"{'ratio':20} {plain.whole / once.whole:8.1f}")
    print(f"probabilities differ by {apart:.1e} at most")


if __name__ == "__main__":
    main()
