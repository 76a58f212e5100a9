"""The dense layers behind the features, as the papers build them."""

from collections.abc import Sequence

from torch import nn

from fibrolab.choices import refuse


def build_head(
    in_features: int,
    num_classes: int,
    hidden: Sequence[int] = (),
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    batch_norm: bool = False,
) -> nn.Sequential:
    """Dense layers from features (B, in_features) to logits (B, num_classes).

    Each hidden layer is dense, batch norm (if asked for), ReLU, dropout; the classifier is one dense layer.
    Hybrid of ResNet50 and VGG16: 6144 -> 1024 -> 512 -> 5 with ``hidden=[1024, 512], dropout=0.5``.
    EfficientNet with "dropout, FC, batch norm, ReLU, FC": ``hidden=[N], input_dropout=P, batch_norm=True``.

    Args:
        in_features: Length of a feature vector.
        num_classes: Number of logits, K.
        hidden: Widths of the hidden layers; none makes a linear classifier.
        dropout: Share of values dropped behind each hidden layer; without one, in front of the classifier.
        input_dropout: Share of features dropped in front of the first hidden layer.
        batch_norm: Batch norm in each hidden layer; training batches then need two samples or more.

    Raises:
        ConfigError: A width is not positive, a share is outside [0, 1), or a setting needs a hidden layer.
    """
    refuse(_faults(num_classes, hidden, dropout, input_dropout, batch_norm))
    layers: list[nn.Module] = [nn.Dropout(input_dropout)] if input_dropout else []
    width = in_features
    for units in hidden:
        layers.append(nn.Linear(width, units))
        if batch_norm:
            layers.append(nn.BatchNorm1d(units))
        layers.append(nn.ReLU())
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = units
    if dropout and not hidden:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(width, num_classes))


def _faults(
    num_classes: int, hidden: Sequence[int], dropout: float, input_dropout: float, batch_norm: bool
) -> list[str]:
    faults = []
    if num_classes < 2:
        faults.append(f"num_classes: {num_classes} classes cannot be told apart. Give 2 or more.")
    if any(units < 1 for units in hidden):
        faults.append(f"head.hidden: {list(hidden)} holds a width below 1. Give units of each layer.")
    for setting, share in (("dropout", dropout), ("input_dropout", input_dropout)):
        if not 0 <= share < 1:
            faults.append(f"head.{setting}: {share} is not a share. Give a number from 0 to below 1.")
    if not hidden and input_dropout:
        faults.append("head.input_dropout: there is no hidden layer. Use head.dropout, or give head.hidden.")
    if not hidden and batch_norm:
        faults.append("head.batch_norm: there is no hidden layer. Set it to false, or give head.hidden.")
    return faults
