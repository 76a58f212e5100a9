"""The losses by name: the loss of each sample, the last layer that gives its logits, and class weights."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError
from fibrolab.targets import imported

WEIGHTINGS = ("none", "balanced")


class Loss(nn.Module, ABC):
    """A mean over the batch, sum_i w_{y_i} l_i / B, in float32 whatever the precision of the logits.

    torch's weighted cross-entropy divides by the sum of the weights instead; Keras, which paper 1 used,
    divides by B as here. Only so does the mean over equal parts of a batch, be they accumulated or on several
    devices, equal the loss of the whole. Balanced weights average 1, so over an epoch the scales agree.

    Args:
        num_classes: Number of classes, K.
        weight: Weight of each class, (K,); None for ones.

    A subclass defines `per_sample`; it may override `num_logits`, `output_layer`, `probabilities` and
    `misfits`. Its own settings are its further arguments, all of them keywords.

    Attributes:
        needs_order: Whether the classes must be stages.
    """

    needs_order: ClassVar[bool] = False
    weight: Tensor | None

    def __init__(self, num_classes: int, weight: Tensor | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.register_buffer("weight", weight, persistent=False)  # of the settings: no part of a checkpoint

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
            "it needs classes in an order, such as stages, and those of this task have none. "
            "Use loss=cross_entropy or loss=focal."
        ]

    @property
    def num_logits(self) -> int:
        """Number of logits of a sample: one for each class."""
        return self.num_classes

    def output_layer(self, in_features: int) -> nn.Module:
        """Build the last layer of the head: features (B, in_features) -> logits (B, num_logits)."""
        return nn.Linear(in_features, self.num_logits)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar, of logits (B, num_logits) and class indices (B,)."""
        assert logits.shape[1] == self.num_logits, f"{self.num_logits} logits, not {tuple(logits.shape)}"
        losses = self.per_sample(logits.float(), labels)
        return (losses if self.weight is None else self.weight[labels] * losses).mean()

    @abstractmethod
    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss l_i of each sample, (B,), without class weights."""

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return class probabilities (B, K) in float32; rows sum to one."""
        return logits.float().softmax(dim=1)


class CrossEntropy(Loss):
    """-log p_y, or with smoothing the cross-entropy to (1 - s) of the label and s of a uniform target.

    A class weight multiplies the whole loss of a sample. (torch weights the smoothed part of every class by
    that class's own weight, so that a sample's loss there depends on classes it does not have.)
    """

    def __init__(
        self, num_classes: int, weight: Tensor | None = None, *, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(num_classes, weight)
        if not (_is_number(label_smoothing) and 0 <= label_smoothing < 1):
            raise ConfigError(
                f"loss.label_smoothing: {label_smoothing} is not a proportion. "
                "Give a number from 0 to below 1."
            )
        self.label_smoothing = label_smoothing

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy to the smoothed label."""
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)


class Focal(Loss):
    """-(1 - p_y)^gamma log p_y: samples of a high p_y count less (Lin et al., ICCV 2017, eq. 4).

    The paper has it for one sigmoid a class; p_y is the softmax here. Its alpha is the class weight.
    """

    def __init__(self, num_classes: int, weight: Tensor | None = None, *, gamma: float = 2.0) -> None:
        super().__init__(num_classes, weight)
        if not (_is_number(gamma) and gamma >= 0):
            raise ConfigError(f"loss.gamma: {gamma} cannot be an exponent here. Give 0 or more, such as 2.")
        self.gamma = gamma

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy times (1 - p_y)^gamma."""
        own = labels[:, None] == torch.arange(self.num_classes, device=labels.device)  # (B, K)
        # log(1 - p_y) from the other classes: 1 - p_y itself rounds to 0, where a gamma below 1 has no slope.
        log_rest = logits.log_softmax(dim=1).masked_fill(own, -torch.inf).logsumexp(dim=1)
        return (self.gamma * log_rest).exp() * F.cross_entropy(logits, labels, reduction="none")


class SoftOrdinal(Loss):
    """Cross-entropy to targets that fall off with the distance from the label.

    Soft labels of Diaz and Marathe (CVPR 2019): the target of class j for label y is the softmax over j of
    -phi(y, j). The metric phi is theirs to choose by task; it is ``sharpness * |y - j|`` here, so that a
    neighbouring stage gets exp(-sharpness) times the label's target. With growing sharpness this becomes the
    plain cross-entropy. The least it can be is the entropy of the targets, not zero.
    """

    needs_order = True
    targets: Tensor  # (K, K), a row a label

    def __init__(self, num_classes: int, weight: Tensor | None = None, *, sharpness: float = 2.0) -> None:
        super().__init__(num_classes, weight)
        if not (_is_number(sharpness) and sharpness > 0):
            raise ConfigError(
                f"loss.sharpness: {sharpness} is no rate to fall off at. Give a number above 0, such as 2."
            )
        stages = torch.arange(num_classes, dtype=torch.float32)
        distance = (stages[:, None] - stages).abs()
        self.register_buffer("targets", (-sharpness * distance).softmax(dim=1), persistent=False)

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy to the soft label."""
        return F.cross_entropy(logits, self.targets[labels], reduction="none")


class ThresholdLoss(Loss, ABC):
    """A loss of one logit for each threshold between neighbouring classes, (B, K - 1)."""

    @property
    def num_logits(self) -> int:
        """Number of logits of a sample: one for each threshold."""
        return self.num_classes - 1


class Corn(ThresholdLoss):
    """Logit k asks P(y > k | y >= k); their product along the stages is the class probability.

    CORN of Shi, Cao and Raschka (Pattern Analysis and Applications 26, 2023). The loss of a sample sums the
    binary cross-entropies of the questions that reach it, k <= y, which is -log p_y exactly; with two classes
    it is the binary cross-entropy. The authors divide the batch's sum by the number of (sample, question)
    pairs instead of B, which makes it smaller by a factor from 1 to K - 1 that changes with the labels.
    """

    needs_order = True

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of the conditional binary cross-entropies up to the label."""
        reached = labels[:, None] >= torch.arange(self.num_logits, device=labels.device)  # (B, K - 1)
        return (reached * _threshold_losses(logits, labels)).sum(dim=1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return p_k = P(not above k | reached k) prod_{j < k} P(above j | reached j)."""
        logits = logits.float()
        reached = F.pad(logits.sigmoid().cumprod(dim=1), (1, 0), value=1.0)
        return reached * F.pad((-logits).sigmoid(), (0, 1), value=1.0)


class CoralLayer(nn.Module):
    """One weight vector for all thresholds between classes, and a bias for each.

    Cao, Mirjalili and Raschka (Pattern Recognition Letters 140, 2020). The biases start in falling order,
    (K - 1) / (K - 1) down to 1 / (K - 1), as in the authors' own code; at the optimum they are in order too
    (theorem 1).

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
    """Logit k asks P(y > k); all share one weight vector and differ in their bias alone.

    CORAL of Cao, Mirjalili and Raschka (Pattern Recognition Letters 140, 2020), every question of the same
    importance: the loss of a sample sums K - 1 binary cross-entropies, as the authors' does. With two classes
    it is the binary cross-entropy; with more it is larger than -log p_y.
    """

    needs_order = True

    def output_layer(self, in_features: int) -> nn.Module:
        """Build the layer that all thresholds share but for their biases."""
        return CoralLayer(in_features, self.num_classes)

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the sum of the binary cross-entropies of all thresholds."""
        return _threshold_losses(logits, labels).sum(dim=1)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return differences of neighbouring P(y > k), none below 0, made to sum to one.

        The logits fall with k at the optimum (the paper's theorem 1) but need not on the way. The difference
        sigmoid(a) - sigmoid(b) is sigmoid(a) sigmoid(-b) (1 - exp(b - a)), exact in the tails.
        """
        upper = F.pad(logits.float(), (1, 0), value=torch.inf)  # P(y > -1) = 1
        lower = F.pad(logits.float(), (0, 1), value=-torch.inf)  # P(y > K - 1) = 0
        gap = (upper - lower).clamp(min=0)
        parts = upper.sigmoid() * (-lower).sigmoid() * -torch.expm1(-gap)
        return parts / parts.sum(dim=1, keepdim=True)


class Binary(ThresholdLoss):
    """Binary cross-entropy of one logit, that of class 1; for tasks of two classes, ordered or not."""

    @classmethod
    def misfits(cls, num_classes: int, ordered: bool) -> list[str]:
        """Refuse any other number of classes than two."""
        if num_classes == 2:
            return []
        return [
            f"it separates two classes, and this task has {num_classes}. "
            "Use loss=cross_entropy, or a task of two classes, such as task=ge_F2."
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
    **settings: Any,
) -> Loss:
    """Build the loss of logits and class indices (B,).

    Args:
        name: One of `LOSSES`. Of a loss with a `_target_`, any name.
        num_classes: Number of classes, K.
        class_counts: Training samples of each class, n_k; needed where classes are weighted.
        class_weights: ``none``, or ``balanced`` for w_k = N / (K n_k).
        ordered: Whether the classes are stages.
        classes: Their names, for messages.
        _target_: Dotted path of a subclass of `Loss` in the user's own package.
        **settings: The loss's own, such as `label_smoothing`, `gamma` or `sharpness`.

    Raises:
        ConfigError: A name or setting is unknown, a number is out of range, the loss does not fit the task,
            or a weighted class has no sample; all that is found is listed.
    """
    faults, weight = [], None
    if class_weights not in WEIGHTINGS:
        faults.append(unknown("loss.class_weights", class_weights, WEIGHTINGS))
    elif class_weights == "balanced":
        try:
            weight = balanced_weights(() if class_counts is None else class_counts, classes)
        except ConfigError as fault:
            faults.append(str(fault))
    build = LOSSES.get(name)
    if _target_:
        build = imported(_target_, "loss._target_")
        if not (isinstance(build, type) and issubclass(build, Loss)):
            refuse([f"loss._target_={_target_} is not a fibrolab.losses.Loss: subclass it.", *faults])
    if build is None:
        refuse([unknown("loss.name", name, LOSSES), *faults])
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
    """Return weights w_k = N / (K n_k), (K,): every class weighs the same, and a sample weighs 1 on average.

    Args:
        counts: Training samples of each class, n_k.
        classes: Names of the classes, for the message; their numbers if None.

    Raises:
        ConfigError: A class has no sample, or no counts are given.
    """
    names = range(len(counts)) if classes is None else classes
    empty = [str(name) for name, count in zip(names, counts, strict=True) if count < 1]
    if empty or not len(counts):
        lacking = f"there is none of {', '.join(empty)}" if empty else "none are counted"
        raise ConfigError(
            f"loss.class_weights: balanced needs training samples of every class, and {lacking}. "
            "Use another split or task, or loss.class_weights=none."
        )
    n = torch.tensor(counts, dtype=torch.float64)
    return (n.sum() / (len(counts) * n)).float()


def _threshold_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return binary cross-entropies (B, K - 1) of whether the label lies above each threshold."""
    above = labels[:, None] > torch.arange(logits.shape[1], device=labels.device)
    return F.binary_cross_entropy_with_logits(logits, above.float(), reduction="none")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
