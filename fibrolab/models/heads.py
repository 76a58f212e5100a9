"""The head: dense layers from the features to the logits, configurable as in the papers."""

from collections.abc import Callable, Sequence

from torch import nn

from fibrolab.allowed import whole
from fibrolab.choices import refuse, unknown

CLASSES = "classes"  # as the width of a hidden layer: the number of classes
ACTIVATIONS: dict[str, type[nn.Module] | None] = {"relu": nn.ReLU, "none": None}


def build_head(
    in_features: int,
    num_classes: int,
    output: Callable[[int], nn.Module] | None = None,
    hidden: Sequence[int | str] = (),
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    batch_norm: bool = False,
    activation: str = "relu",
) -> nn.Sequential:
    """Build dense layers from features (B, in_features) to logits.

    Each hidden layer is dense, batch norm (optional), activation, dropout. The loss builds the last
    layer. The heads of the papers are in `conf/head`.

    Args:
        in_features: Length of a feature vector.
        num_classes: Number of classes, K.
        output: Function that builds the last layer, given the length of its input
            (`fibrolab.losses.Loss.output_layer`); None for a linear layer with one logit per class.
        hidden: Widths of the hidden layers, each a number or the word ``classes`` for K; if empty, the head
            is a linear classifier.
        dropout: Proportion of values dropped after each hidden layer; without hidden layers, before the
            last layer.
        input_dropout: Proportion of features dropped before the first hidden layer.
        batch_norm: Batch norm in each hidden layer; training batches then need at least two samples.
        activation: ``relu``, or ``none``.

    Raises:
        ConfigError: A name is unknown, a width is not positive, a proportion is outside [0, 1), or a setting
            needs a hidden layer; all are listed.
    """
    refuse(faults(num_classes, hidden, dropout, input_dropout, batch_norm, activation))
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
    last = nn.Linear(width, num_classes) if output is None else output(width)
    return nn.Sequential(*layers, last)


def faults(
    num_classes: int,
    hidden: Sequence[int | str] = (),
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    batch_norm: bool = False,
    activation: str = "relu",
) -> list[str]:
    """Return a sentence on each fault of the settings of `build_head`."""
    found = _layer_faults(num_classes, hidden, activation)
    return found + _dropout_faults(hidden, dropout, input_dropout, batch_norm)


def _layer_faults(num_classes: int, hidden: Sequence[int | str], activation: str) -> list[str]:
    faults = []
    if num_classes < 2:
        faults.append(f"num_classes: {num_classes} is too few to classify. Give 2 or more.")
    if isinstance(hidden, str) or not isinstance(hidden, Sequence):
        faults.append(f"head.hidden: {hidden} is not a list. Give the units of each layer, such as [256].")
    elif not all(units == CLASSES or whole(1).holds(units) for units in hidden):
        faults.append(
            f"head.hidden: {list(hidden)} contains an invalid width. Give the units of each layer, "
            f"1 or more, or the word {CLASSES} for the number of classes."
        )
    if activation not in ACTIVATIONS:
        faults.append(unknown("head.activation", activation, ACTIVATIONS))
    return faults


def _dropout_faults(
    hidden: Sequence[int | str], dropout: float, input_dropout: float, batch_norm: bool
) -> list[str]:
    faults = []
    for setting, given in (("dropout", dropout), ("input_dropout", input_dropout)):
        if not (isinstance(given, int | float) and 0 <= given < 1):
            faults.append(f"head.{setting}: {given} is not a proportion. Give a number from 0 to below 1.")
    if not hidden and input_dropout:
        faults.append("head.input_dropout: there is no hidden layer. Use head.dropout, or give head.hidden.")
    if not hidden and batch_norm:
        faults.append("head.batch_norm: there is no hidden layer. Set it to false, or give head.hidden.")
    return faults
