"""The Lightning module of segmentations: from the image to the class of each pixel."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from fibrolab import keys
from fibrolab.losses import Loss
from fibrolab.mask_classes import IGNORED, NO_CLASS, MaskClasses
from fibrolab.models.segmentation import SegmentationNetwork, check
from fibrolab.modules.base import Batch, TrainedModule
from fibrolab.pixel_losses import build_pixel_loss


class MeanDice(Metric):
    """Dice of predicted and true masks, averaged over the classes but the background, then over the images.

    A class that an image lacks counts 1 where it is not predicted either, else 0.
    """

    higher_is_better = True
    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, probabilities: Tensor, targets: Tensor) -> None:
        """Add images by probabilities (B, K, H, W) and targets (B, H, W)."""
        classes, known = probabilities.shape[1], targets != IGNORED
        predicted = probabilities.argmax(dim=1)
        dice = torch.stack([_dice(predicted == k, targets == k, known) for k in range(1, classes)])
        self.total += dice.mean(dim=0).double().sum()
        self.images += len(targets)

    def compute(self) -> Tensor:
        """Return the mean, a scalar."""
        return (self.total / self.images).float()


class Segmenter(TrainedModule):
    """Image (B, 1, H, W) -> network -> logits of each class at each pixel (B, K, H, W).

    Args:
        network: `name` of the network and its settings (`fibrolab.models.segmentation`).
        levels: Grey levels of each class in the masks (`fibrolab.mask_classes.MaskClasses`).
        ignore: Grey level of pixels without a label.
        classes: Names of the classes, background first.
        image_size: Side of the images [px].
        loss: `name` of the loss and its settings (`fibrolab.pixel_losses`).
        optimizer: `name` of a torch optimizer and its arguments.
        scheduler: `name` of a schedule and its arguments.
        monitor: Metric that a plateau scheduler monitors.
        mode: `min` or `max`: whether a lower or a higher value of `monitor` is better.

    Raises:
        ConfigError: A setting is invalid.
        WeightsError: Published weights of the encoder cannot be downloaded.
    """

    target = keys.MASK

    def __init__(
        self,
        *,
        network: dict[str, Any],
        levels: dict[str, Any] | None,
        ignore: int | None,
        classes: list[str],
        image_size: int,
        loss: dict[str, Any],
        optimizer: dict[str, Any],
        scheduler: dict[str, Any],
        monitor: str = "val/loss",
        mode: str = "min",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.build()
        if "pretrained" in network:
            self.hparams["network"] = {**network, "pretrained": False}
        table = MaskClasses.of(levels, ignore).table()
        table[table == NO_CLASS] = IGNORED  # levels of no class are refused when the masks are read
        self.register_buffer("class_of_level", torch.from_numpy(table), persistent=False)

    @staticmethod
    def check_network(network: Mapping[str, Any]) -> None:
        """Refuse a network that cannot be built; see `fibrolab.models.segmentation.check`."""
        check(network)

    def build_loss(self) -> Loss:
        """Build the loss of pixels."""
        return build_pixel_loss(classes=self.hparams["classes"], **self.hparams["loss"])

    def build_network(self) -> SegmentationNetwork:
        """Build the network from a batch to logits."""
        return SegmentationNetwork(self.hparams["network"], len(self.hparams["classes"]))

    def build_metrics(self) -> dict[str, Metric]:
        """Build the Dice of the validation set; it takes probabilities (B, K, H, W) and targets (B, H, W)."""
        return default_mask_metrics()

    def targets(self, batch: Batch) -> Tensor:
        """Return the class of each pixel, int64 (B, H, W); `IGNORED` where it has no label."""
        classes: Tensor = self.class_of_level[batch[keys.MASK][:, 0].long()]  # type: ignore[index]
        return classes

    def right(self, predicted: Tensor, targets: Tensor) -> Tensor:
        """Return the proportion of the labelled pixels of each image that have their class, (B,)."""
        known = (targets != IGNORED).sum(dim=(1, 2)).clamp(min=1)
        return (predicted == targets).sum(dim=(1, 2)) / known


def default_mask_metrics() -> dict[str, Metric]:
    """Return the metrics of `Segmenter.build_metrics`."""
    return {"dice": MeanDice()}


def _dice(predicted: Tensor, true: Tensor, known: Tensor) -> Tensor:
    """Return the Dice of each image, (B,), of masks (B, H, W)."""
    both = (predicted & true).sum(dim=(1, 2))
    total = (predicted & known).sum(dim=(1, 2)) + true.sum(dim=(1, 2))
    return torch.where(total > 0, 2 * both / total.clamp(min=1), 1.0)
