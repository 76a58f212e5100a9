"""The Lightning module behind every classifier: step, loss, metrics and optimizer."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCohenKappa

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.losses import build_loss
from fibrolab.modules.optimizers import build_optimizer, build_scheduler

Settings = Mapping[str, Any]
Batch = dict[str, Tensor]


class Classifier(L.LightningModule):
    """Everything but the network, which a subclass builds.

    All arguments are strings, numbers, lists and dicts, so that a checkpoint holds them and loads with
    `weights_only=True`.

    Args:
        branches: Settings of each backbone by the branch's name (`fibrolab.models.backbones.Backbone`).
        head: Settings of the head (`fibrolab.models.heads.build_head`).
        classes: Names of the classes.
        class_counts: Training samples of each class, for class weights.
        image_size: Side of the images [pixels].
        loss: Settings of the loss (`fibrolab.losses.build_loss`).
        optimizer: `name` of a torch optimizer and its arguments.
        scheduler: `name` of a schedule and its arguments.
        monitor: Metric that a plateau scheduler watches.
        mode: `min` or `max` of that metric.
        ordered: Whether the classes are stages, so that the distance of a mistake counts.
    """

    def __init__(
        self,
        *,
        branches: dict[str, dict[str, Any]],
        head: dict[str, Any],
        classes: Sequence[str],
        class_counts: Sequence[int],
        image_size: int,
        loss: dict[str, Any],
        optimizer: dict[str, Any],
        scheduler: dict[str, Any],
        monitor: str = "val/loss",
        mode: str = "min",
        ordered: bool = True,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.classes = list(classes)
        self.network = self.build_network(branches, head, image_size)
        self.criterion = build_loss(class_counts=list(class_counts), **loss)
        metrics: dict[str, Metric] = {"accuracy": MulticlassAccuracy(len(classes), average="micro")}
        if ordered:
            metrics["qwk"] = MulticlassCohenKappa(len(classes), weights="quadratic")
        self.val_metrics = MetricCollection(dict(metrics), prefix="val/")

    def build_network(
        self, branches: dict[str, dict[str, Any]], head: dict[str, Any], image_size: int
    ) -> nn.Module:
        """The network: a dict of batch tensors in, logits (B, K) out."""
        raise TypeError(f"{type(self).__name__} must say which network it trains: define build_network.")

    @property
    def inputs(self) -> list[str]:
        """Batch keys that the network eats."""
        return list(self.network.inputs)  # type: ignore[arg-type]

    @property
    def monitors(self) -> list[str]:
        """Metrics that early stopping, checkpoints and sweeps may watch."""
        return ["train/loss", "val/loss", *(str(name) for name in self.val_metrics)]

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, K)."""
        return self.network(batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch."""
        loss = self.criterion(self(batch), batch[keys.LABEL])
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[keys.LABEL]))
        return loss

    def on_train_epoch_start(self) -> None:
        """Record the rate that this epoch starts with."""
        self.log("train/lr", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and running metrics of one batch."""
        logits = self(batch)
        labels = batch[keys.LABEL]
        self.log(
            "val/loss", self.criterion(logits, labels), batch_size=len(labels), sync_dist=True, prog_bar=True
        )
        self.val_metrics.update(logits, labels)

    def on_validation_epoch_end(self) -> None:
        """Metrics of the whole partition."""
        self.log_dict({str(name): value for name, value in self.val_metrics.compute().items()}, prog_bar=True)
        self.val_metrics.reset()

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Batch:
        """Manifest rows (B,) and class probabilities (B, K)."""
        return {keys.INDEX: batch[keys.INDEX], "probabilities": self(batch).float().softmax(dim=1)}

    def configure_optimizers(self) -> Any:
        """The optimizer over what is trainable, and its schedule."""
        hparams = self.hparams
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if not parameters:
            raise ConfigError(
                "Nothing is left to train: every backbone is frozen and the head has no weight."
            )
        optimizer = build_optimizer(parameters, hparams["optimizer"])
        epochs = self.trainer.max_epochs or 1
        scheduler = build_scheduler(optimizer, hparams["scheduler"], epochs, hparams["mode"])
        if scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "epoch", "monitor": hparams["monitor"]},
        }
