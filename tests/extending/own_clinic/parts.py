"""The parts of a user's package, each as small as possible."""

from typing import Any

import albumentations
import lightning as L
import numpy as np
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.nn import functional as F

from fibrolab.data import splits
from fibrolab.data.samplers import EpochSampler
from fibrolab.losses import ThresholdLoss
from fibrolab.modules.classifiers import SingleClassifier
from fibrolab.phantom import source


class Net(nn.Sequential):
    def __init__(self, width: int) -> None:
        super().__init__(nn.Conv2d(3, width, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class Fusion(nn.Module):
    def __init__(self, sizes: dict[str, int], width: int) -> None:
        super().__init__()
        self.num_features = width
        self.views = nn.ModuleDict({name: nn.Linear(size, width) for name, size in sizes.items()})

    def forward(self, features: Any, present: Any) -> Any:
        return sum(view(features[name]) for name, view in self.views.items())


class Head(nn.Module):
    def __init__(self, in_features: int, num_classes: int, output: Any, slope: float) -> None:
        super().__init__()
        self.act, self.last = nn.LeakyReLU(slope), output(in_features)

    def forward(self, features: Any) -> Any:
        return self.last(self.act(features))


class Loss(ThresholdLoss):
    """Mean binary cross-entropy of the thresholds, on a last layer without bias."""

    needs_order = True

    def output_layer(self, in_features: int) -> nn.Module:
        return nn.Linear(in_features, self.num_logits, bias=False)

    def per_sample(self, logits: Any, labels: Any) -> Any:
        above = labels[:, None] > labels.new_tensor(range(self.num_logits))
        return F.binary_cross_entropy_with_logits(logits, above.float(), reduction="none").mean(dim=1)

    def probabilities(self, logits: Any) -> Any:
        above = logits.float().sigmoid().cummin(dim=1).values
        return F.pad(above, (1, 0), value=1.0) - F.pad(above, (0, 1))


class Model(SingleClassifier):
    """Scales the logits, so that its `forward` differs from that of the class it derives from."""

    def __init__(self, *, scale: float, **settings: Any) -> None:
        super().__init__(**settings)

    def forward(self, batch: Any) -> Any:
        return super().forward(batch) * self.hparams["scale"]


class Callback(L.Callback):
    def __init__(self, monitor: str, dirpath: Any) -> None:
        self.monitor, self.path = monitor, dirpath.parent / "own_callback.txt"

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.path.write_text(f"{self.monitor} {float(trainer.callback_metrics[self.monitor])}")


class Logger(CSVLogger):
    pass


class Sampler(EpochSampler):
    def __init__(self, labels: np.ndarray, groups: np.ndarray, seed: int, reverse: bool) -> None:
        super().__init__(len(labels), seed=seed)
        self.reverse = reverse

    def order(self, generator: np.random.Generator) -> np.ndarray:
        return super().order(generator)[:: -1 if self.reverse else 1]


class Darker(albumentations.ImageOnlyTransform):
    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        return img // 2


def load(*args: Any, **settings: Any) -> Any:
    return source.load(*args, **settings)


def split(*args: Any, **settings: Any) -> Any:
    return splits.holdout(*args, **settings)
