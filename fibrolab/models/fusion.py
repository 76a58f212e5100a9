"""Late fusion: the features of any number of branches are fused before one head."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from fibrolab import keys
from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError
from fibrolab.models import heads
from fibrolab.models.branches import (
    INPUT,
    Branch,
    Settings,
    branch_faults,
    build_branch,
    clinical_columns,
    settings_of,
)
from fibrolab.models.heads import build_head
from fibrolab.targets import call, imported

Batch = Mapping[str, Tensor]
MODALITY_DROPOUT = "modality_dropout"  # setting of every fusion
DEFAULT_FUSION: dict[str, Any] = {"name": "concatenate", MODALITY_DROPOUT: 0.0}
ENOUGH_CLASSES = 2  # for a head; the loss knows how many there are
TARGET = "_target_"  # setting: dotted path of the user's own fusion or head


class Concatenate(nn.Module):
    """Concatenated features; zeros for the branches whose input a sample lacks.

    Args:
        sizes: Number of features of each branch, in order.

    Attributes:
        num_features: Sum of the sizes.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.num_features = sum(sizes.values())

    def forward(self, features: Batch, present: Batch) -> Tensor:
        """Concatenate features (B, F) of each branch, zeros where absent, to (B, num_features)."""
        return torch.cat(list(features.values()), dim=1)


class Gated(nn.Module):
    """A gated multimodal unit over n branches.

    h_i = tanh(W_i x_i + b_i); z = softmax over i of (V_i [x_1 .. x_n] + c_i), for each of the `width` units;
    h = sum_i z_i * h_i. With two branches z_1 is the sigmoid of a linear function and z_2 = 1 - z_1: the
    bimodal unit of Arevalo et al., "Gated multimodal units for information fusion", ICLR workshop 2017,
    arXiv:1702.01992 (with biases). For more branches, their gates are sigmoids that need not sum to one. Here
    the gates sum to one over the branches that a sample has; the gate of an absent branch is zero.

    Args:
        sizes: Number of features of each branch, in order.
        width: Number of fused features.

    Attributes:
        num_features: `width`.

    Raises:
        ConfigError: The width is not positive.
    """

    def __init__(self, sizes: Mapping[str, int], width: int = 512) -> None:
        super().__init__()
        if not isinstance(width, int) or width < 1:
            raise ConfigError(f"model.fusion.width: {width} is not a number of units. Give 1 or more.")
        self.num_features = width
        self.views = nn.ModuleDict({name: nn.Linear(size, width) for name, size in sizes.items()})
        self.gates = nn.Linear(sum(sizes.values()), len(sizes) * width)

    def forward(self, features: Batch, present: Batch) -> Tensor:
        """Fuse features (B, F) of each branch to (B, width), with masks (B,) of incomplete branches."""
        views = torch.stack([torch.tanh(view(features[name])) for name, view in self.views.items()], dim=1)
        scores = self.gates(torch.cat([features[name] for name in self.views], dim=1))
        scores = scores.unflatten(1, (len(self.views), -1))  # (B, n * width) -> (B, n, width)
        if present:
            # `len` would fix the batch of an export.
            every = torch.ones_like(scores[:, 0, 0], dtype=torch.bool)
            absent = ~torch.stack([present.get(name, every) for name in self.views], dim=1)  # (B, n)
            scores = scores.masked_fill(absent.unsqueeze(2), -torch.inf)
        return (scores.softmax(dim=1) * views).sum(dim=1)


FUSIONS: dict[str, Callable[..., Concatenate | Gated]] = {"concatenate": Concatenate, "gated": Gated}


class LateFusion(nn.Module):
    """Branches on entries of a batch -> fused features -> head -> logits.

    With one branch this is a plain classifier. With two on the same image it is the hybrid of paper 1:
    ResNet50 (2048 features) and VGG16 (4096), concatenated to 6144. With different inputs it is a multimodal
    network: Inception-V3 on grey image and elastogram, 2048 + 2048 concatenated to 4096.

    A sample may lack an input. The placeholder in the batch then affects neither the sample's logits nor the
    batch norm of the branch.

    Args:
        branches: Settings of each branch by its name (`fibrolab.models.branches.build_branch`).
        head: Settings of `build_head` without `in_features`, `num_classes` and `output`; or `_target_`, the
            dotted path of the user's own `nn.Module`, which takes these three arguments and the other
            settings.
        num_classes: Number of classes, K.
        image_size: Side of the square images [px].
        fusion: `name`, one of `FUSIONS`, with its settings (default: ``concatenate``), and
            `modality_dropout`, the probability that a sample loses an input in training; one input is always
            kept. Or `_target_`, the dotted path of the user's own `nn.Module`, which takes `sizes` and the
            other settings, has `num_features`, and is called like `Concatenate`.
        output: Function that builds the last layer of the head (`build_head`).
        clinical: `columns` of the batch's clinical values, their `mean` and `sd` over the training samples.

    Attributes:
        branches: The branches by name, in the order of their features.
        fusion: The module that fuses their features.
        head: The dense layers.
        inputs: The batch keys that the network takes, each once.
        num_features: Length of the fused feature vector.

    Raises:
        ConfigError: There is no branch, or settings are unknown or out of range; all are listed.
        WeightsError: A branch's weights cannot be found or downloaded, or do not fit.
    """

    def __init__(
        self,
        branches: Mapping[str, Settings],
        head: Settings,
        num_classes: int,
        image_size: int,
        fusion: Settings | None = None,
        output: Callable[[int], nn.Module] | None = None,
        clinical: Settings | None = None,
    ) -> None:
        super().__init__()
        fusion_settings = DEFAULT_FUSION | dict(fusion or {})
        refuse(_faults(branches, head, fusion_settings, clinical))
        self.branches = _branches_from(branches, image_size, clinical)
        self._keys = {name: settings.get(INPUT, keys.IMAGE) for name, settings in branches.items()}
        self.inputs = tuple(dict.fromkeys(self._keys.values()))
        self.modality_dropout: float = fusion_settings.pop(MODALITY_DROPOUT)
        sizes = {name: branch.num_features for name, branch in self._branch_items()}
        self.fusion = _fusion_from(fusion_settings, sizes)
        self.num_features: int = self.fusion.num_features
        self.head = _head_from(head, self.num_features, num_classes, output)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (B, outputs) of a batch with `inputs`, or with precomputed features instead."""
        logits: Tensor = self.head(self.encode(batch))
        return logits

    def encode(self, batch: Batch) -> Tensor:
        """Return fused features (B, num_features); in training, modality dropout is applied first."""
        present = self._present(batch)
        features = self._features(batch, present)
        masks = {name: present[key] for name, key in self._keys.items() if key in present}
        fused: Tensor = self.fusion(features, masks)
        return fused

    def features(self, batch: Batch, names: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return features (B, F) of each branch, zeros where a sample lacks its input; no modality dropout.

        Args:
            batch: A batch with the inputs of these branches.
            names: Branches; None for all.

        Raises:
            ConfigError: The batch lacks an entry that a branch takes.
        """
        masks = {key: batch[keys.present(key)] for key in self.inputs if keys.present(key) in batch}
        chosen = self._keys if names is None else names
        return {name: self._feature(name, batch, masks.get(self._keys[name])) for name in chosen}

    def input_of(self, branch: str) -> str:
        """Return the batch key that a branch takes."""
        return str(self._keys[branch])

    def depths(self) -> dict[str, int]:
        """Return the depth of every parameter by name; fusion and head have the largest.

        The last layers of all branches have the same depth, because they are equally close to the head.
        """
        of_branches = {name: branch.depths() for name, branch in self._branch_items()}
        tops = {name: 1 + max(depths.values(), default=-1) for name, depths in of_branches.items()}
        head = max(tops.values())
        found = {
            f"branches.{name}.{parameter}": depth + head - tops[name]
            for name, depths in of_branches.items()
            for parameter, depth in depths.items()
        }
        return {name: found.get(name, head) for name, _ in self.named_parameters()}

    def at_epoch(self, epoch: int) -> None:
        """Unfreeze the stages scheduled for this epoch in every branch and freeze all others."""
        for _, branch in self._branch_items():
            branch.at_epoch(epoch)

    def _branch_items(self) -> list[tuple[str, Branch]]:
        return [(name, cast(Branch, branch)) for name, branch in self.branches.items()]

    def _present(self, batch: Batch) -> dict[str, Tensor]:
        """Return masks (B,) of the inputs that some samples lack, in the data or dropped in training."""
        given = [key for key in self.inputs if keys.present(key) in batch]
        drops = self.training and self.modality_dropout > 0
        if not given and not drops:
            return {}
        entries = [self._entry(name, batch) for name in self._keys]
        every = torch.ones(len(entries[0]), dtype=torch.bool, device=entries[0].device)
        table = torch.stack([batch.get(keys.present(key), every) for key in self.inputs], dim=1)
        assert table.any(dim=1).all(), "a sample without any input"  # the datamodule refuses these
        if drops:
            table = drop_modalities(table, self.modality_dropout)
        return {key: table[:, n] for n, key in enumerate(self.inputs) if drops or key in given}

    def _features(self, batch: Batch, present: Batch) -> dict[str, Tensor]:
        return {name: self._feature(name, batch, present.get(self._keys[name])) for name in self._keys}

    def _feature(self, name: str, batch: Batch, present: Tensor | None) -> Tensor:
        """Return features (B, F) of one branch, computed only on the rows that have its input.

        The zeros in place of a missing image would distort the statistics of the branch's batch norm.
        """
        entry, branch = self._entry(name, batch), cast(Branch, self.branches[name])
        precomputed = keys.features(name) in batch
        if present is None:
            return entry if precomputed else branch(entry)
        if precomputed:
            return entry.masked_fill(~present.unsqueeze(1), 0)
        rows = present.nonzero().squeeze(1)
        if not len(rows):
            return torch.zeros(len(entry), branch.num_features, device=entry.device)
        # torch cannot train batch norm on a single row with a 1 x 1 map: such a row is passed twice.
        passed = rows.repeat(2) if self.training and len(rows) == 1 else rows
        found = branch(entry[passed])[: len(rows)]
        return found.new_zeros(len(entry), branch.num_features).index_copy(0, rows, found)

    def _entry(self, name: str, batch: Batch) -> Tensor:
        """Return the batch entry of a branch: its features if precomputed, otherwise its input."""
        precomputed, key = keys.features(name), self._keys[name]
        if precomputed not in batch and key not in batch:
            raise ConfigError(
                f"model.branches.{name}: the batch has no {key}. It has: {', '.join(sorted(batch))}. "
                "Set the branch's input to one of them."
            )
        return batch[precomputed] if precomputed in batch else batch[key]


def check(branches: Mapping[str, Settings], head: Settings, fusion: Settings | None) -> None:
    """Refuse settings of `LateFusion` that are wrong with any data, before a network is built.

    Raises:
        ConfigError: There is no branch, or settings are unknown or out of range; all are listed.
    """
    measured = {"columns": clinical_columns(branches)}
    refuse(_faults(branches, head, DEFAULT_FUSION | dict(fusion or {}), measured))


def drop_modalities(present: Tensor, probability: float) -> Tensor:
    """Drop inputs of samples at random, but never the last one of a sample.

    Args:
        present: Mask of the inputs that each sample has, bool (B, I).
        probability: Probability that an input of a sample is dropped.

    Returns:
        Mask of the inputs that are left, bool (B, I).
    """
    draws = torch.rand(present.shape, device=present.device).masked_fill(~present, -1)
    # If all inputs of a sample would be dropped, the one with the largest draw stays: each is equally likely.
    largest = draws == draws.amax(dim=1, keepdim=True)
    return present & ((draws >= probability) | largest)


def _branches_from(
    branches: Mapping[str, Settings], image_size: int, clinical: Settings | None
) -> nn.ModuleDict:
    built, faults = nn.ModuleDict(), []
    for name, settings in branches.items():
        try:
            built[name] = build_branch(name, settings, image_size, clinical)
        except ConfigError as fault:
            faults.append(str(fault))
    refuse(faults)
    return built


def _fusion_from(settings: dict[str, Any], sizes: Mapping[str, int]) -> Any:
    """Build the fusion that settings name: one of `FUSIONS` or the user's own."""
    name, target = settings.pop("name"), settings.pop(TARGET, None)
    if target is None:
        return FUSIONS[name](sizes, **settings)
    built = call(imported(target, f"model.fusion.{TARGET}"), "model.fusion", sizes=sizes, **settings)
    if not (isinstance(built, nn.Module) and isinstance(getattr(built, "num_features", None), int)):
        raise ConfigError(
            f"model.fusion.{TARGET}={target} must be an nn.Module with the attribute num_features."
        )
    return built


def _head_from(
    settings: Settings, in_features: int, num_classes: int, output: Callable[[int], nn.Module] | None
) -> nn.Module:
    """Build the head from settings, with `build_head` or the user's own class."""
    own = dict(settings)
    target = own.pop(TARGET, None)
    build = build_head if target is None else imported(target, f"model.head.{TARGET}")
    built = call(build, "model.head", in_features=in_features, num_classes=num_classes, output=output, **own)
    if not isinstance(built, nn.Module):
        raise ConfigError(f"model.head.{TARGET}={target} must be an nn.Module.")
    return built


def _faults(
    branches: Mapping[str, Settings], head: Settings, fusion: Settings, clinical: Settings | None
) -> list[str]:
    faults = []
    if not branches:
        faults.append("model.branches: there is no branch. Give at least one backbone.")
    for name, given in branches.items():
        faults += branch_faults(name, given, clinical)
    if TARGET not in head:
        allowed = settings_of(build_head, without=("in_features", "num_classes", "output"))
        strange = [unknown("model.head", key, allowed) for key in head if key not in allowed]
        faults += strange or [f"model.{fault}" for fault in heads.faults(ENOUGH_CLASSES, **head)]
    inputs = {given.get(INPUT, keys.IMAGE) for given in branches.values() if isinstance(given, Mapping)}
    return faults + _fusion_faults(fusion, len(inputs))


def _fusion_faults(fusion: Settings, num_inputs: int) -> list[str]:
    name, dropout = fusion["name"], fusion[MODALITY_DROPOUT]
    faults = []
    if TARGET not in fusion:
        if name not in FUSIONS:
            return [unknown("model.fusion.name", name, FUSIONS)]
        allowed = ["name", MODALITY_DROPOUT, *settings_of(FUSIONS[name], without=("sizes",))]
        faults = [unknown("model.fusion", key, allowed) for key in fusion if key not in allowed]
    where = f"model.fusion.{MODALITY_DROPOUT}: {dropout}"
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        faults.append(f"{where} is not a proportion. Give a number from 0 to below 1.")
    elif dropout and num_inputs < 2:
        faults.append(
            f"{where} needs two inputs, and all branches take the same one. "
            "Set it to 0, or add a branch with another input."
        )
    return faults
