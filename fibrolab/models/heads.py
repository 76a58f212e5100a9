"""The dense layers behind the features, as the papers build them, down to the logits that a loss reads."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fibrolab.choices import refuse, unknown

CLASSES = "classes"  # in place of a hidden layer's width: the number of classes
OUTPUTS = ("softmax", "corn", "coral", "binary")
ACTIVATIONS: dict[str, type[nn.Module] | None] = {"relu": nn.ReLU, "none": None}


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
        """Logits (B, K - 1) of features (B, in_features)."""
        return self.score(features) + self.bias  # (B, 1) + (K - 1,)


def build_head(
    in_features: int,
    num_classes: int,
    output: str = "softmax",
    hidden: Sequence[int | str] = (),
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    batch_norm: bool = False,
    activation: str = "relu",
) -> nn.Sequential:
    """Dense layers from features (B, in_features) to logits.

    Each hidden layer is dense, batch norm (if asked for), activation, dropout. The last layer follows from
    the loss: one logit a class, or one a threshold between classes. The heads of the papers are `conf/head`.

    Args:
        in_features: Length of a feature vector.
        num_classes: Number of classes, K.
        output: What the loss reads the logits as (`fibrolab.losses.Loss.output`): ``softmax``, K logits;
            ``corn``, K - 1; ``coral``, K - 1 of a `CoralLayer`; ``binary``, one, for K = 2.
        hidden: Widths of the hidden layers, a number or the word ``classes`` for K; none makes a linear
            classifier.
        dropout: Share of values dropped behind each hidden layer; without one, in front of the classifier.
        input_dropout: Share of features dropped in front of the first hidden layer.
        batch_norm: Batch norm in each hidden layer; training batches then need two samples or more.
        activation: ``relu``, or ``none``.

    Raises:
        ConfigError: A name is unknown, a width is not positive, a share is outside [0, 1), or a setting needs
            a hidden layer; all are listed.
    """
    refuse(
        _misfits(num_classes, output)
        + _faults(hidden, activation)
        + _dropout_faults(hidden, dropout, input_dropout, batch_norm)
    )
    layers: list[nn.Module] = [nn.Dropout(input_dropout)] if input_dropout else []
    width, act = in_features, ACTIVATIONS[activation]
    for given in hidden:
        units = num_classes if given == CLASSES else int(given)
        layers.append(nn.Linear(width, units))
        if batch_norm:
            layers.append(nn.BatchNorm1d(units))
        if act is not None:
            layers.append(act())
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = units
    if dropout and not hidden:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, _last_layer(width, num_classes, output))


def _last_layer(width: int, num_classes: int, output: str) -> nn.Module:
    if output == "coral":
        return CoralLayer(width, num_classes)
    return nn.Linear(width, num_classes if output == "softmax" else num_classes - 1)


def _misfits(num_classes: int, output: str) -> list[str]:
    faults = []
    if output not in OUTPUTS:
        faults.append(unknown("output", output, OUTPUTS))
    if num_classes < 2:
        faults.append(f"num_classes: {num_classes} classes cannot be told apart. Give 2 or more.")
    if output == "binary" and num_classes > 2:
        faults.append(f"output: binary tells two classes apart, not {num_classes}. Use another loss.")
    return faults


def _faults(hidden: Sequence[int | str], activation: str) -> list[str]:
    faults = []
    if isinstance(hidden, str) or not isinstance(hidden, Sequence):
        faults.append(f"head.hidden: {hidden} is no list. Give the units of each layer, such as [256].")
    elif not all(_is_width(units) for units in hidden):
        faults.append(
            f"head.hidden: {list(hidden)} holds what is no width. Give the units of each layer, 1 or more, "
            f"or the word {CLASSES} for as many as there are classes."
        )
    if activation not in ACTIVATIONS:
        faults.append(unknown("head.activation", activation, ACTIVATIONS))
    return faults


def _dropout_faults(
    hidden: Sequence[int | str], dropout: float, input_dropout: float, batch_norm: bool
) -> list[str]:
    faults = []
    for setting, share in (("dropout", dropout), ("input_dropout", input_dropout)):
        if not (isinstance(share, int | float) and 0 <= share < 1):
            faults.append(f"head.{setting}: {share} is not a share. Give a number from 0 to below 1.")
    if not hidden and input_dropout:
        faults.append("head.input_dropout: there is no hidden layer. Use head.dropout, or give head.hidden.")
    if not hidden and batch_norm:
        faults.append("head.batch_norm: there is no hidden layer. Set it to false, or give head.hidden.")
    return faults


def _is_width(units: object) -> bool:
    return units == CLASSES or (isinstance(units, int) and not isinstance(units, bool) and units >= 1)
