"""Losses by name; each defines the loss per sample, the last layer of the head, and its probabilities."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fibrolab.allowed import BELOW_1, FROM_0, POSITIVE
from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError
from fibrolab.targets import imported

WEIGHTINGS = ("none", "balanced")


class Loss(nn.Module, ABC):
    """A mean over the batch, sum_i w_{y_i} l_i / B, computed in float32 for logits of any precision.

    Keras, which paper 1 used, also divides by the batch size B; torch's weighted cross-entropy divides by the
    sum of the weights. With B, the mean over equal parts of a batch (accumulated, or on several ranks)
    equals the loss of the whole batch. Balanced weights average 1, so over an epoch both scales agree.

    Args:
        num_classes: Number of classes, K.
        weight: Weight of each class, (K,); None for ones.

    A subclass defines `per_sample`; it may override `num_logits`, `output_layer`, `probabilities` and
    `misfits`. Its settings are its additional keyword-only arguments.

    Attributes:
        needs_order: Whether the classes must be stages.
    """

    needs_order: ClassVar[bool] = False
    weight: Tensor | None

    def __init__(self, num_classes: int, weight: Tensor | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.register_buffer("weight", weight, persistent=False)  # comes from settings, not from a checkpoint

    @classmethod
    def misfits(cls, num_classes: int, ordered: bool) -> list[str]:
        """Return a sentence for each reason why this loss does not fit a task.

        Args:
            num_classes: Number of classes, K.
            ordered: Whether the classes are stages.
        """
        if ordered or not cls.needs_order:
            return []
        return [
            "it needs ordered classes, such as stages, and the classes of this task are not ordered. "
            "Use loss=cross_entropy or loss=focal."
        ]

    @property
    def num_logits(self) -> int:
        """Number of logits per sample: one per class."""
        return self.num_classes

    def output_layer(self, in_features: int) -> nn.Module:
        """Build the last layer of the head: features (B, in_features) -> logits (B, num_logits)."""
        return nn.Linear(in_features, self.num_logits)

    def forward(self, logits: Tensor, labels: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Return the loss, a scalar, of logits (B, num_logits) and class indices (B,).

        Args:
            logits: Output of the network.
            labels: Class of each sample.
            sample_weight: Factor of each sample's loss, (B,), see `keys.WEIGHT`; None for ones.
        """
        assert logits.shape[1] == self.num_logits, f"{self.num_logits} logits, not {tuple(logits.shape)}"
        losses = self.per_sample(logits.float(), labels)
        if self.weight is not None:
            losses = self.weight[labels] * losses
        return (losses if sample_weight is None else sample_weight * losses).mean()

    @abstractmethod
    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss l_i of each sample, (B,), without class weights."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return class probabilities (B, K) in float32; rows sum to one."""
        return logits.float().softmax(dim=1)


class CrossEntropy(Loss):
    """-log p_y; with smoothing s, the cross-entropy to (1 - s) times the label plus s times uniform.

    A class weight multiplies the whole loss of a sample. In torch, the smoothed part of each class has that
    class's own weight, so a sample's loss depends on the weights of other classes.
    """

    def __init__(
        self, num_classes: int, weight: Tensor | None = None, *, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(num_classes, weight)
        if not BELOW_1.holds(label_smoothing):
            raise ConfigError(
                f"loss.label_smoothing: {label_smoothing} is not a proportion. "
                "Give a number from 0 to below 1."
            )
        self.label_smoothing = label_smoothing

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy to the smoothed label."""
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)


class Focal(Loss):
    """-(1 - p_y)^gamma log p_y: samples with high p_y count less (Lin et al., ICCV 2017, eq. 4).

    The paper uses one sigmoid per class; here p_y is the softmax. The paper's alpha is the class weight.
    """

    def __init__(self, num_classes: int, weight: Tensor | None = None, *, gamma: float = 2.0) -> None:
        super().__init__(num_classes, weight)
        if not FROM_0.holds(gamma):
            raise ConfigError(f"loss.gamma: {gamma} is not a valid exponent. Give 0 or more, such as 2.")
        self.gamma = gamma

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy times (1 - p_y)^gamma."""
        own = labels[:, None] == torch.arange(self.num_classes, device=labels.device)  # (B, K)
        # log(1 - p_y) from the other classes: 1 - p_y may round to 0, with an infinite slope for gamma < 1.
        log_rest = logits.log_softmax(dim=1).masked_fill(own, -torch.inf).logsumexp(dim=1)
        return (self.gamma * log_rest).exp() * F.cross_entropy(logits, labels, reduction="none")


class SoftOrdinal(Loss):
    """Cross-entropy to targets that decrease with the distance from the label.

    Soft labels of Diaz and Marathe (CVPR 2019): the target of class j for label y is the softmax over j of
    -phi(y, j). The paper leaves the metric phi to the task; here it is ``sharpness * |y - j|``, so the target
    of a neighbouring stage is exp(-sharpness) times that of the label. For large sharpness the loss
    approaches the plain cross-entropy. Its minimum is the entropy of the targets, not zero.
    """

    needs_order = True
    targets: Tensor  # (K, K), one row per label

    def __init__(self, num_classes: int, weight: Tensor | None = None, *, sharpness: float = 2.0) -> None:
        super().__init__(num_classes, weight)
        if not POSITIVE.holds(sharpness):
            raise ConfigError(
                f"loss.sharpness: {sharpness} is not a rate of decrease. Give a number above 0, such as 2."
            )
        stages = torch.arange(num_classes, dtype=torch.float32)
        distance = (stages[:, None] - stages).abs()
        self.register_buffer("targets", (-sharpness * distance).softmax(dim=1), persistent=False)

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy to the soft label."""
        return F.cross_entropy(logits, self.targets[labels], reduction="none")


class ThresholdLoss(Loss, ABC):
    """A loss with one logit per threshold between neighbouring classes, (B, K - 1)."""

    @property
    def num_logits(self) -> int:
        """Number of logits per sample: one per threshold."""
        return self.num_classes - 1


class Corn(ThresholdLoss):
    """Logit k models P(y > k | y >= k); class probabilities are products of these along the stages.

    CORN of Shi, Cao and Raschka (Pattern Analysis and Applications 26, 2023). The loss of a sample is the sum
    of the binary cross-entropies of all thresholds k <= y, which equals -log p_y; with two classes it is the
    binary cross-entropy. The authors divide the sum over the batch by the number of (sample, threshold) pairs
    instead of B; their loss is smaller by a factor between 1 and K - 1 that depends on the labels.
    """

    needs_order = True

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of the conditional binary cross-entropies up to the label."""
        reached = labels[:, None] >= torch.arange(self.num_logits, device=labels.device)  # (B, K - 1)
        return (reached * _threshold_losses(logits, labels)).sum(dim=1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return p_k = P(y = k | y >= k) prod_{j < k} P(y > j | y >= j), (B, K)."""
        logits = logits.float()
        # As a sum of logarithms: ONNX has no cumulative product.
        reached = F.pad(F.logsigmoid(logits).cumsum(dim=1).exp(), (1, 0), value=1.0)
        return reached * F.pad((-logits).sigmoid(), (0, 1), value=1.0)


class CoralLayer(nn.Module):
    """One weight vector for all thresholds between classes, and one bias per threshold.

    Cao, Mirjalili and Raschka (Pattern Recognition Letters 140, 2020). The biases start in descending order,
    from (K - 1) / (K - 1) to 1 / (K - 1), as in the authors' code; at the optimum they are in descending
    order too (theorem 1).

    Args:
        in_features: Length of a feature vector.
        num_classes: Number of classes, K.
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.score = nn.Linear(in_features, 1, bias=False)
        self.bias = nn.Parameter(torch.linspace(1, 0, num_classes)[:-1].clone())

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K - 1) of features (B, in_features)."""
        return self.score(features) + self.bias  # (B, 1) + (K - 1,)


class Coral(ThresholdLoss):
    """Logit k models P(y > k); all logits share one weight vector and differ only in their bias.

    CORAL of Cao, Mirjalili and Raschka (Pattern Recognition Letters 140, 2020) with equally important
    thresholds: as in the paper, the loss of a sample is the sum of K - 1 binary cross-entropies. With two
    classes it is the binary cross-entropy; with more classes it is larger than -log p_y.
    """

    needs_order = True

    def output_layer(self, in_features: int) -> nn.Module:
        """Build the layer with shared weights and one bias per threshold."""
        return CoralLayer(in_features, self.num_classes)

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of the binary cross-entropies of all thresholds."""
        return _threshold_losses(logits, labels).sum(dim=1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return differences of neighbouring P(y > k), clipped at 0 and normalised to sum to one, (B, K).

        The logits decrease with k at the optimum (theorem 1 of the paper), but not always during training.
        sigmoid(a) - sigmoid(b) is computed as sigmoid(a) sigmoid(-b) (1 - exp(b - a)), exact in the tails.
        """
        upper = F.pad(logits.float(), (1, 0), value=torch.inf)  # P(y > -1) = 1
        lower = F.pad(logits.float(), (0, 1), value=-torch.inf)  # P(y > K - 1) = 0
        gap = (upper - lower).clamp(min=0)
        parts = upper.sigmoid() * (-lower).sigmoid() * -torch.expm1(-gap)
        return parts / parts.sum(dim=1, keepdim=True)


class Binary(ThresholdLoss):
    """Binary cross-entropy with one logit, of class 1; for tasks with two classes, ordered or not."""

    @classmethod
    def misfits(cls, num_classes: int, ordered: bool) -> list[str]:
        """Return a sentence if the task does not have two classes."""
        if num_classes == 2:
            return []
        return [
            f"it needs two classes, and this task has {num_classes}. "
            "Use loss=cross_entropy, or a task with two classes, such as task=ge_F2."
        ]

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the binary cross-entropy of the only threshold."""
        return _threshold_losses(logits, labels).squeeze(1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return P(class 0) and P(class 1)."""
        return torch.cat([-logits, logits], dim=1).float().sigmoid()


LOSSES: dict[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "focal": Focal,
    "soft_ordinal": SoftOrdinal,
    "corn": Corn,
    "coral": Coral,
    "binary": Binary,
}


def build_loss(
    name: str,
    num_classes: int,
    class_counts: Sequence[int] | None = None,
    class_weights: str = "none",
    ordered: bool = True,
    classes: Sequence[str] | None = None,
    _target_: str = "",
    losses: Mapping[str, type[Loss]] = LOSSES,
    **settings: Any,
) -> Loss:
    """Build the loss of logits and class indices (B,).

    Args:
        name: One of `LOSSES`; with `_target_`, any name.
        num_classes: Number of classes, K.
        class_counts: Training samples of each class, n_k; required for ``balanced``.
        class_weights: ``none``, or ``balanced`` for w_k = N / (K n_k).
        ordered: Whether the classes are stages.
        classes: Names of the classes, for messages.
        _target_: Dotted path of a subclass of `Loss` in the user's own package.
        losses: The losses to choose from by name.
        **settings: Settings of the loss, such as `label_smoothing`, `gamma` or `sharpness`.

    Raises:
        ConfigError: A name or setting is unknown, a number is out of range, the loss does not fit the task,
            or a weighted class has no sample; all faults are listed.
    """
    faults, weight = [], None
    if class_weights not in WEIGHTINGS:
        faults.append(unknown("loss.class_weights", class_weights, WEIGHTINGS))
    elif class_weights == "balanced":
        try:
            weight = balanced_weights(() if class_counts is None else class_counts, classes)
        except ConfigError as fault:
            faults.append(str(fault))
    build = losses.get(name)
    if _target_:
        build = imported(_target_, "loss._target_")
        if not (isinstance(build, type) and issubclass(build, Loss)):
            refuse([f"loss._target_={_target_} is not a fibrolab.losses.Loss: subclass it.", *faults])
    if build is None:
        refuse([unknown("loss.name", name, losses), *faults])
    assert build is not None
    own = [key for key, part in inspect.signature(build).parameters.items() if part.kind == part.KEYWORD_ONLY]
    faults += [unknown(f"loss {name}", key, [*own, "class_weights"]) for key in settings if key not in own]
    faults += [f"loss={name}: {misfit}" for misfit in build.misfits(num_classes, ordered)]
    try:
        loss = build(num_classes, weight, **{key: settings[key] for key in own if key in settings})
    except ConfigError as fault:
        faults.append(str(fault))
    refuse(faults)
    return loss


def balanced_weights(counts: Sequence[int], classes: Sequence[str] | None = None) -> Tensor:
    """Return weights w_k = N / (K n_k), (K,): all classes have equal total weight, samples 1 on average.

    Args:
        counts: Training samples of each class, n_k.
        classes: Names of the classes, for the message; if None, their indices are shown.

    Raises:
        ConfigError: A class has no sample, or no counts are given.
    """
    names = range(len(counts)) if classes is None else classes
    empty = [str(name) for name, count in zip(names, counts, strict=True) if count < 1]
    if empty or not len(counts):
        lacking = f"there is none of {', '.join(empty)}" if empty else "no counts are given"
        raise ConfigError(
            f"loss.class_weights: balanced needs training samples of every class, but {lacking}. "
            "Use another split or task, or loss.class_weights=none."
        )
    n = torch.tensor(counts, dtype=torch.float64)
    return (n.sum() / (len(counts) * n)).float()


def _threshold_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy of each threshold, (B, K - 1); the target is y > k."""
    above = labels[:, None] > torch.arange(logits.shape[1], device=labels.device)
    return F.binary_cross_entropy_with_logits(logits, above.float(), reduction="none")
