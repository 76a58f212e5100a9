"""The Lightning modules: the base of all, with steps, metrics and optimizer, and that of all classifiers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import lightning as L
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCohenKappa

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.losses import Loss, build_loss
from fibrolab.models.fusion import LateFusion
from fibrolab.modules.optimizers import build_optimizer, build_scheduler

Settings = Mapping[str, Any]
Batch = dict[str, Tensor]
INITIAL_WEIGHTS = {"pretrained": False, "weights": None}  # settings of a branch: values for random weights


class TrainedModule(L.LightningModule, ABC):
    """A network trained with a loss: steps, metrics and optimizer of classifiers and segmenters.

    A subclass stores its arguments with `save_hyperparameters` and calls `build`, which runs the hooks
    `build_loss`, `build_network` and `build_metrics` in this order; they read the arguments from
    `self.hparams`, which hold `optimizer`, `scheduler`, `monitor` and `mode` too. It defines `targets`.

    All arguments are strings, numbers, lists and dicts, so that a checkpoint stores them and loads with
    `weights_only=True`. It does not store where initial weights came from, because it holds the weights.

    Attributes:
        target: Batch key that the network learns to predict.
        criterion: The loss.
        network: The network, from a batch to logits.
        train_metrics: Mean loss and accuracy over the training samples of an epoch, as trained: with dropout
            and augmentation, before the update by each batch. Their names start with `train/`.
        val_loss: Mean loss over the samples of the validation set.
        val_metrics: Metrics of the validation set; their names start with `val/`.
    """

    target: ClassVar[str]
    criterion: Loss
    network: Any

    def build(self) -> None:
        """Build loss, network and metrics from the stored arguments."""
        self.criterion = self.build_loss()
        self.network = self.build_network()
        self.train_metrics = MetricCollection(
            {name: MeanMetric(nan_strategy="disable") for name in ("loss", "accuracy")}, prefix="train/"
        )
        self.val_loss = MeanMetric(nan_strategy="disable")
        self.val_metrics = MetricCollection(dict(self.build_metrics()), prefix="val/")

    @abstractmethod
    def build_loss(self) -> Loss:
        """Build the loss; it defines the last layer and converts logits to probabilities."""

    @abstractmethod
    def build_network(self) -> nn.Module:
        """Build the network from a batch to logits; `self.criterion` is already built."""

    @abstractmethod
    def build_metrics(self) -> dict[str, Metric]:
        """Build the metrics of the validation set by name; they take probabilities and targets.

        A metric whose `higher_is_better` is None is logged but cannot be monitored.
        """

    @abstractmethod
    def targets(self, batch: Batch) -> Tensor:
        """Return what the network shall predict: classes of the samples (B,) or of their pixels (B, H, W)."""

    @abstractmethod
    def right(self, predicted: Tensor, targets: Tensor) -> Tensor:
        """Return the proportion of each sample, (B,), in which predicted classes are the targets."""

    @property
    def inputs(self) -> list[str]:
        """Batch keys that the network takes."""
        return list(self.network.inputs)

    @property
    def modalities(self) -> list[str]:
        """Inputs that are pictures or films."""
        return [name for name in self.inputs if name != keys.CLINICAL]

    @property
    def clinical_columns(self) -> list[str]:
        """Clinical columns that the network takes, in the order of the batch entry `clinical` (B, D)."""
        return []

    @property
    def monitors(self) -> dict[str, str]:
        """Metrics that may be monitored, each with its mode: `min` if lower is better, otherwise `max`."""
        return monitored({str(name): metric for name, metric in self.val_metrics.items()})

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (B, outputs, ...); their number is `fibrolab.losses.Loss.num_logits`."""
        logits: Tensor = self.network(batch)
        return logits

    def on_train_epoch_start(self) -> None:
        """Unfreeze the stages scheduled for this epoch; log the largest learning rate."""
        self.network.at_epoch(self.current_epoch)
        rates = [group["lr"] for group in self.optimizers().param_groups]  # type: ignore[union-attr]
        self.log("train/lr", max(rates))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        logits, labels, weight = self(batch), self.targets(batch), batch.get(keys.WEIGHT)
        loss: Tensor = self.criterion(logits, labels, *_given(weight))
        right = self.right(self.criterion.probabilities(logits.detach()).argmax(dim=1), labels)
        scale, samples = _of_samples(labels, weight)
        # One value a sample: with nan_strategy="disable" torchmetrics 1.9 ignores the argument `weight`.
        self.train_metrics["loss"].update((loss.detach() * scale).expand(samples))
        self.train_metrics["accuracy"].update(_without_pads(right, weight))
        self.log_dict(dict(self.train_metrics.items()), on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the loss of one batch and update the metrics."""
        logits, labels, weight = self(batch), self.targets(batch), batch.get(keys.WEIGHT)
        scale, samples = _of_samples(labels, weight)
        loss = self.criterion(logits, labels, *_given(weight)) * scale
        self.val_loss.update(loss.expand(samples))  # Lightning's own mean over ranks rounds their batch sizes
        self.log("val/loss", self.val_loss, on_step=False, on_epoch=True, prog_bar=True)
        if samples:
            probabilities = self.criterion.probabilities(logits)
            self.val_metrics.update(_without_pads(probabilities, weight), _without_pads(labels, weight))

    def on_validation_epoch_end(self) -> None:
        """Log the metrics of the whole validation set."""
        self.log_dict({str(name): value for name, value in self.val_metrics.compute().items()}, prog_bar=True)
        self.val_metrics.reset()

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Batch:
        """Return manifest rows (B,) and probabilities (B, K, ...); none of the pads of a last batch."""
        answers = {
            keys.INDEX: batch[keys.INDEX],
            "probabilities": self.criterion.probabilities(self(batch)),
        }
        return {name: _without_pads(values, batch.get(keys.WEIGHT)) for name, values in answers.items()}

    def configure_optimizers(self) -> Any:
        """Build the optimizer over all parameters (frozen ones get no gradient), and its schedule.

        Raises:
            ConfigError: No parameter trains, or a setting is invalid.
        """
        hparams = self.hparams
        if not any(parameter.requires_grad for parameter in self.network.parameters()):
            raise ConfigError("No parameter trains: every backbone is frozen and the head has no weights.")
        optimizer = build_optimizer(
            self.network.named_parameters(), hparams["optimizer"], self.network.depths()
        )
        epochs = self.trainer.max_epochs or 1
        scheduler = build_scheduler(optimizer, hparams["scheduler"], epochs, hparams["mode"])
        if scheduler is None:
            return optimizer
        plan = {"scheduler": scheduler, "interval": "epoch", "monitor": hparams["monitor"]}
        if hparams["scheduler"]["name"] == "plateau":  # it needs the metric, which other epochs do not have
            plan["frequency"] = self.trainer.check_val_every_n_epoch or 1
        return {"optimizer": optimizer, "lr_scheduler": plan}


class Classifier(TrainedModule):
    """Branches, fusion and head, trained with a loss.

    A subclass overrides one or more of the hooks `check_branches`, `build_loss`, `build_network`,
    `build_metrics` and `configure_optimizers`. They run in this order and read the arguments from
    `self.hparams`. A subclass may add arguments; the checkpoint stores them too.

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
        clinical: `columns`, and their `mean` and `sd` over the training samples; None if no branch takes
            clinical values.
        monitor: Metric that a plateau scheduler monitors.
        mode: `min` or `max`: whether a lower or a higher value of `monitor` is better.
        ordered: Whether the classes are ordered stages; the quadratic weighted kappa is then logged too.

    Raises:
        ConfigError: The branches do not suit this model, or a setting is invalid.
        WeightsError: A branch's weights cannot be found or downloaded, or do not fit.
    """

    target = keys.LABEL

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
        self.build()
        self.hparams["branches"] = {  # so that building them loads no weights
            name: {key: INITIAL_WEIGHTS.get(key, value) for key, value in branch.items()}
            for name, branch in branches.items()
        }

    def build_loss(self) -> Loss:
        """Build the loss; it defines the last layer of the head and converts logits to probabilities."""
        hparams = self.hparams
        return build_loss(
            num_classes=len(hparams["classes"]),
            class_counts=list(hparams["class_counts"]),
            classes=list(hparams["classes"]),
            ordered=hparams["ordered"],
            **hparams["loss"],
        )

    def build_network(self) -> LateFusion:
        """Build the network from a batch to logits; `self.criterion` is already built."""
        hparams = self.hparams
        return LateFusion(
            hparams["branches"],
            hparams["head"],
            len(hparams["classes"]),
            hparams["image_size"],
            fusion=hparams["fusion"],
            output=self.criterion.output_layer,
            clinical=hparams["clinical"],
        )

    def build_metrics(self) -> dict[str, Metric]:
        """Build the metrics of the validation set by name; they take probabilities (B, K) and labels (B,).

        A metric whose `higher_is_better` is None is logged but cannot be monitored.
        """
        return default_metrics(len(self.hparams["classes"]), self.hparams["ordered"])

    @staticmethod
    def check_branches(branches: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse branches that do not suit this model; the base class accepts all.

        Raises:
            ConfigError: The number or the inputs of the branches do not suit this model.
        """

    @property
    def clinical_columns(self) -> list[str]:
        """Clinical columns that the network takes, in the order of the batch entry `clinical` (B, D)."""
        return list((self.hparams["clinical"] or {"columns": ()})["columns"])

    def targets(self, batch: Batch) -> Tensor:
        """Return the class of each sample, (B,)."""
        return batch[keys.LABEL]

    def right(self, predicted: Tensor, targets: Tensor) -> Tensor:
        """Return 1 where the predicted class is the sample's, else 0, (B,)."""
        return (predicted == targets).float()


def _given(weight: Tensor | None) -> tuple[Tensor, ...]:
    """Return the weights of samples as an argument of a loss; none for a batch without pads."""
    return () if weight is None else (weight,)


def _without_pads(values: Tensor, weight: Tensor | None) -> Tensor:
    """Return the values (B, ...) of the samples that are not pads."""
    return values if weight is None else values[weight > 0]


def _of_samples(labels: Tensor, weight: Tensor | None) -> tuple[float, int]:
    """Return the factor from a weighted mean over a batch to that over its samples, and their number.

    Args:
        labels: Class of each entry of the batch, (B,).
        weight: Weights by which ranks share an uneven batch, (B,), equal but for pads with 0; None for ones.
    """
    if weight is None:
        return 1.0, len(labels)
    return len(labels) / max(float(weight.sum()), 1.0), int((weight > 0).sum())


def default_metrics(num_classes: int, ordered: bool) -> dict[str, Metric]:
    """Return the metrics of `Classifier.build_metrics`."""
    metrics: dict[str, Metric] = {"accuracy": MulticlassAccuracy(num_classes, average="micro")}
    if ordered:
        metrics["qwk"] = MulticlassCohenKappa(num_classes, weights="quadratic")
    return metrics


def monitored(metrics: Mapping[str, Metric]) -> dict[str, str]:
    """Return the losses and metrics that may be monitored, see `Classifier.monitors`."""
    better = {name: metric.higher_is_better for name, metric in metrics.items()}
    known = {name: "max" if higher else "min" for name, higher in better.items() if higher is not None}
    return {"train/loss": "min", "val/loss": "min", **known}
