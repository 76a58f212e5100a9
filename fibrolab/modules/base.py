"""The Lightning module behind every classifier: step, loss, metrics and optimizer."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCohenKappa

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.losses import build_loss
from fibrolab.models.fusion import LateFusion
from fibrolab.modules.optimizers import build_optimizer, build_scheduler

Settings = Mapping[str, Any]
Batch = dict[str, Tensor]
STARTS = {"pretrained": False, "weights": None}  # where a branch's first weights came from


class Classifier(L.LightningModule):
    """Branches, fusion and head, trained on a loss; a subclass says which branches it is made for.

    All arguments are strings, numbers, lists and dicts, so that a checkpoint holds them and loads with
    `weights_only=True`. What the weights started from is left out of it: the checkpoint has the weights.

    Args:
        branches: Settings of each branch by its name (`fibrolab.models.branches.build_branch`).
        fusion: `name` of the fusion and its settings (`fibrolab.models.fusion.LateFusion`).
        head: Settings of the head (`fibrolab.models.heads.build_head`).
        classes: Names of the classes.
        class_counts: Training samples of each class, for class weights.
        image_size: Side of the images [px].
        loss: `name` of the loss and its settings (`fibrolab.losses.build_loss`).
        optimizer: `name` of a torch optimizer and its arguments.
        scheduler: `name` of a schedule and its arguments.
        clinical: `columns`, `mean` and `sd` of clinical values on the training samples, where a branch
            eats them.
        monitor: Metric that a plateau scheduler watches.
        mode: `min` or `max` of that metric.
        ordered: Whether the classes are stages, so that the distance of a mistake counts.

    Raises:
        ConfigError: Branches that this model is not made for, or settings that a part refuses.
        WeightsError: A branch's weights cannot be found, fetched or fitted.
    """

    network: LateFusion

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
        fusion: dict[str, Any] | None = None,
        clinical: dict[str, list[Any]] | None = None,
        monitor: str = "val/loss",
        mode: str = "min",
        ordered: bool = True,
    ) -> None:
        super().__init__()
        if empty := [name for name, branch in branches.items() if not isinstance(branch, Mapping)]:
            raise ConfigError(
                f"model.branches.{empty[0]} is empty; leave it out with ~model.branches.{empty[0]}."
            )
        self.check_branches(branches)
        self.save_hyperparameters()
        self.hparams["branches"] = {name: _begun(branch) for name, branch in branches.items()}
        self.criterion = build_loss(
            num_classes=len(classes),
            class_counts=list(class_counts),
            classes=list(classes),
            ordered=ordered,
            **loss,
        )
        self.network = LateFusion(
            branches,
            head,
            len(classes),
            image_size,
            fusion=fusion,
            output=self.criterion.output,
            clinical=clinical,
        )
        metrics: dict[str, Metric] = {"accuracy": MulticlassAccuracy(len(classes), average="micro")}
        if ordered:
            metrics["qwk"] = MulticlassCohenKappa(len(classes), weights="quadratic")
        self.val_metrics = MetricCollection(dict(metrics), prefix="val/")

    @staticmethod
    def check_branches(branches: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse branches that this model is not made for; any will do unless a subclass says otherwise.

        Raises:
            ConfigError: The number or the inputs of the branches are not this model's.
        """

    @property
    def inputs(self) -> list[str]:
        """Batch keys that the network eats."""
        return list(self.network.inputs)

    @property
    def clinical_columns(self) -> list[str]:
        """Columns of the table that the network eats, in the order of `clinical` (B, D)."""
        return list((self.hparams["clinical"] or {"columns": ()})["columns"])

    @property
    def monitors(self) -> list[str]:
        """Metrics that early stopping, checkpoints and sweeps may watch."""
        return ["train/loss", "val/loss", *(str(name) for name in self.val_metrics)]

    def forward(self, batch: Batch) -> Tensor:
        """Logits (B, outputs): as many as the loss asks for, see `fibrolab.losses`."""
        logits: Tensor = self.network(batch)
        return logits

    def on_train_epoch_start(self) -> None:
        """Thaw what thaws in this epoch, and record the rate that it starts with: the highest of all."""
        self.network.at_epoch(self.current_epoch)
        rates = [group["lr"] for group in self.optimizers().param_groups]  # type: ignore[union-attr]
        self.log("train/lr", max(rates))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch."""
        loss: Tensor = self.criterion(self(batch), batch[keys.LABEL])
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[keys.LABEL]))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Loss and running metrics of one batch."""
        logits, labels = self(batch), batch[keys.LABEL]
        self.log(
            "val/loss", self.criterion(logits, labels), batch_size=len(labels), sync_dist=True, prog_bar=True
        )
        self.val_metrics.update(self.criterion.probabilities(logits), labels)

    def on_validation_epoch_end(self) -> None:
        """Metrics of the whole partition."""
        self.log_dict({str(name): value for name, value in self.val_metrics.compute().items()}, prog_bar=True)
        self.val_metrics.reset()

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Batch:
        """Manifest rows (B,) and class probabilities (B, K)."""
        return {
            keys.INDEX: batch[keys.INDEX],
            "probabilities": self.criterion.probabilities(self(batch)),
        }

    def configure_optimizers(self) -> Any:
        """The optimizer over all parameters (frozen ones have no gradient and stay), and its schedule."""
        hparams = self.hparams
        if not any(parameter.requires_grad for parameter in self.network.parameters()):
            raise ConfigError(
                "Nothing is left to train: every backbone is frozen and the head has no weight."
            )
        optimizer = build_optimizer(
            self.network.named_parameters(), hparams["optimizer"], self.network.depths()
        )
        epochs = self.trainer.max_epochs or 1
        scheduler = build_scheduler(optimizer, hparams["scheduler"], epochs, hparams["mode"])
        if scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "epoch", "monitor": hparams["monitor"]},
        }


def _begun(branch: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a branch that builds it without looking for its first weights."""
    return {key: STARTS.get(key, value) for key, value in branch.items()}
