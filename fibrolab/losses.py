"""The losses by name, and the class weights that go into them. A new loss is one function and one entry."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError

WEIGHTINGS = ("none", "balanced")


def build_loss(
    name: str,
    class_counts: Sequence[int] | None = None,
    class_weights: str = "none",
    label_smoothing: float = 0.0,
) -> nn.Module:
    """The loss of logits (B, K) and class indices (B,).

    Args:
        name: One of `LOSSES`.
        class_counts: Training samples of each class, n_k; needed where classes are weighted.
        class_weights: ``none``, or ``balanced`` for w_k = N / (K n_k).
        label_smoothing: Share of the target spread evenly over all classes, from 0 to below 1.

    Raises:
        ConfigError: A name is unknown, a number is out of range, or a class has no sample.
    """
    faults = []
    if name not in LOSSES:
        faults.append(unknown("loss", name, LOSSES))
    if class_weights not in WEIGHTINGS:
        faults.append(unknown("loss.class_weights", class_weights, WEIGHTINGS))
    if not 0 <= label_smoothing < 1:
        faults.append(
            f"loss.label_smoothing: {label_smoothing} is no share. Give a number from 0 to below 1."
        )
    refuse(faults)
    weights = (
        None if class_weights == "none" else balanced_weights(() if class_counts is None else class_counts)
    )
    return LOSSES[name](weights, label_smoothing)


def balanced_weights(counts: Sequence[int]) -> Tensor:
    """Weights w_k = N / (K n_k), (K,): every class weighs the same, and a sample weighs 1 on average.

    Args:
        counts: Training samples of each class, n_k.

    Raises:
        ConfigError: A class has no sample, or no counts are given.
    """
    empty = [str(k) for k, count in enumerate(counts) if count < 1]
    if empty or not len(counts):
        lacking = f"class {', '.join(empty)} has none" if empty else "none are counted"
        raise ConfigError(
            f"loss.class_weights: balanced needs training samples of every class, and {lacking}. "
            "Use another split or task, or loss.class_weights: none."
        )
    n = torch.tensor(counts, dtype=torch.float64)
    return (n.sum() / (len(counts) * n)).float()


def cross_entropy(weights: Tensor | None, label_smoothing: float) -> nn.Module:
    """Cross-entropy, a weighted mean over the batch: sum_i w_{y_i} l_i / sum_i w_{y_i}.

    torch divides by the sum of the weights. Keras divides by B, so that there a batch of rare classes makes a
    larger step; balanced weights average 1, so over an epoch the two scales agree.
    """
    loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
    loss.register_buffer(
        "weight", weights, persistent=False
    )  # follows from the settings: no part of a checkpoint
    return loss


LOSSES: dict[str, Callable[[Tensor | None, float], nn.Module]] = {"cross_entropy": cross_entropy}
