"""Targets of an explanation: from the logits of a network to the one score that a map explains."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from fibrolab import keys
from fibrolab.choices import unknown
from fibrolab.errors import ConfigError
from fibrolab.losses import Loss

Target = Callable[[Tensor], Tensor]  # logits (B, outputs) -> one score for each sample (B,)
PREDICTED, TRUE = "predicted", "true"
MINUS = "-"  # between two stages whose difference is explained
TINY = 1e-30  # smallest probability whose logarithm is taken


@dataclass(frozen=True)
class Task:
    """The classes among which a network chooses.

    Attributes:
        loss: The loss, which turns logits into probabilities.
        classes: Names of the classes.
        endpoints: Lowest positive class of each end point, by its name.
    """

    loss: Loss
    classes: Sequence[str]
    endpoints: Mapping[str, int] = field(default_factory=dict)


def target_fault(name: str, classes: Sequence[str], endpoints: Mapping[str, int]) -> str | None:
    """Return a sentence on an unknown target; None if it is known.

    Args:
        name: `predicted`, `true`, a class, an end point, or the difference of two classes such as `F3-F2`.
        classes: Names of the classes.
        endpoints: Lowest positive class of each end point.
    """
    known = (PREDICTED, TRUE, *classes, *endpoints)
    if name in known or _difference(name, classes):
        return None
    example = f"{classes[-1]}{MINUS}{classes[-2]}"
    return f"{unknown('explain.target', name, known)} Or give the difference of two classes: {example}."


def build_target(
    name: str, task: Task, probabilities: Tensor, labels: Tensor | None = None
) -> tuple[Target, list[str]]:
    """Return the target of a batch, and the name of the score that it explains of each sample.

    Of a class it is the logit y^c of Grad-CAM (Selvaraju et al., ICCV 2017, section 3); losses without a
    logit for each class (`corn`, `coral`, `binary`) have its log odds, log p_c - log(1 - p_c), instead. Of an
    end point it is the log odds log P(y >= k) - log P(y < k), of two classes log p_a - log p_b, which for a
    softmax is the difference of their logits.

    Args:
        name: See `target_fault`.
        task: The classes and the loss.
        probabilities: Class probabilities (B, K), which tell the predicted class.
        labels: Class of each sample, int64 (B,); needed for `true`.

    Raises:
        ConfigError: The target is unknown, or `true` was asked for samples without a label.
    """
    if fault := target_fault(name, task.classes, task.endpoints):
        raise ConfigError(fault)
    size = len(probabilities)
    if name in (PREDICTED, TRUE):
        chosen = probabilities.argmax(dim=1) if name == PREDICTED else labels
        if chosen is None or (chosen == keys.UNLABELLED).any():
            raise ConfigError(
                "explain.target=true needs the true class, and some of the samples have none: give "
                "explain.target=predicted, or the name of a class."
            )
        return partial(_class_score, task.loss, chosen), [task.classes[k] for k in chosen.tolist()]
    if name in task.classes:
        same = torch.full((size,), task.classes.index(name), device=probabilities.device)
        return partial(_class_score, task.loss, same), [name] * size
    if name in task.endpoints:
        return partial(_endpoint_score, task.loss, task.endpoints[name]), [name] * size
    first, second = _difference(name, task.classes)
    return partial(_difference_score, task.loss, first, second), [name] * size


def _difference(name: str, classes: Sequence[str]) -> tuple[int, ...]:
    """Return the indices of the two classes whose difference is named; empty if it is none."""
    names = list(classes)
    pairs = [(a, b) for a in names for b in names if a != b and name == f"{a}{MINUS}{b}"]
    return tuple(map(names.index, pairs[0])) if pairs else ()


def _class_score(loss: Loss, chosen: Tensor, logits: Tensor) -> Tensor:
    if _is_softmax(loss):
        return logits.gather(1, chosen[:, None]).squeeze(1)
    log = _log_probabilities(loss, logits)
    own = chosen[:, None] == torch.arange(log.shape[1], device=log.device)  # (B, K)
    return log.gather(1, chosen[:, None]).squeeze(1) - log.masked_fill(own, -torch.inf).logsumexp(dim=1)


def _endpoint_score(loss: Loss, lowest: int, logits: Tensor) -> Tensor:
    log = _log_probabilities(loss, logits)
    return log[:, lowest:].logsumexp(dim=1) - log[:, :lowest].logsumexp(dim=1)


def _difference_score(loss: Loss, first: int, second: int, logits: Tensor) -> Tensor:
    log = _log_probabilities(loss, logits)
    return log[:, first] - log[:, second]


def _log_probabilities(loss: Loss, logits: Tensor) -> Tensor:
    if _is_softmax(loss):
        return logits.float().log_softmax(dim=1)
    return loss.probabilities(logits).clamp_min(TINY).log()


def _is_softmax(loss: Loss) -> bool:
    """Return whether the loss has one logit for each class and takes their softmax."""
    return type(loss).probabilities is Loss.probabilities
