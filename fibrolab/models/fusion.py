"""Late fusion: any number of branches side by side, their features joined in front of one head."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from fibrolab import keys
from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError
from fibrolab.models.branches import INPUT, Branch, Settings, branch_faults, build_branch, settings_of
from fibrolab.models.heads import build_head
from fibrolab.targets import call, imported

Batch = Mapping[str, Tensor]
MODALITY_DROPOUT = "modality_dropout"  # setting of every fusion
TARGET = "_target_"  # setting of a fusion or a head of the user's own: its dotted path


class Concatenate(nn.Module):
    """Features one behind the other, zeros for a branch that a sample goes without.

    Args:
        sizes: Length of the features of each branch, in their order.

    Attributes:
        num_features: Sum of the lengths.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.num_features = sum(sizes.values())

    def forward(self, features: Batch, present: Batch) -> Tensor:
        """Joined (B, num_features) of features (B, F) by branch; those that are absent are zeros already."""
        return torch.cat(list(features.values()), dim=1)


class Gated(nn.Module):
    """A gated multimodal unit over n branches.

    h_i = tanh(W_i x_i + b_i); z = softmax over i of (V_i [x_1 .. x_n] + c_i), for each of the `width` units;
    h = sum_i z_i * h_i. With two branches z_1 is the sigmoid of a linear function and z_2 = 1 - z_1: the
    bimodal unit of Arevalo et al., "Gated multimodal units for information fusion", ICLR workshop 2017,
    arXiv:1702.01992 (with biases). For more, their gates are sigmoids that need not sum to one; ours do, so
    that a branch can lose its gate, where a sample goes without it, and leave its share to the others.

    Args:
        sizes: Length of the features of each branch, in their order.
        width: Units of the joined features.

    Attributes:
        num_features: `width`.

    Raises:
        ConfigError: The width is not positive.
    """

    def __init__(self, sizes: Mapping[str, int], width: int = 512) -> None:
        super().__init__()
        if not isinstance(width, int) or width < 1:
            raise ConfigError(f"model.fusion.width: {width} is no number of units. Give 1 or more.")
        self.num_features = width
        self.views = nn.ModuleDict({name: nn.Linear(size, width) for name, size in sizes.items()})
        self.gates = nn.Linear(sum(sizes.values()), len(sizes) * width)

    def forward(self, features: Batch, present: Batch) -> Tensor:
        """Joined (B, width) of features (B, F) by branch, with masks (B,) of those that some samples lack."""
        views = torch.stack([torch.tanh(view(features[name])) for name, view in self.views.items()], dim=1)
        scores = self.gates(torch.cat([features[name] for name in self.views], dim=1))
        scores = scores.unflatten(1, (len(self.views), -1))  # (B, n * width) -> (B, n, width)
        if present:
            every = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
            shut = ~torch.stack([present.get(name, every) for name in self.views], dim=1)  # (B, n)
            scores = scores.masked_fill(shut.unsqueeze(2), -torch.inf)
        return (scores.softmax(dim=1) * views).sum(dim=1)


FUSIONS: dict[str, Callable[..., Concatenate | Gated]] = {"concatenate": Concatenate, "gated": Gated}


class LateFusion(nn.Module):
    """Branches on entries of a batch -> joined features -> dense head -> logits.

    One branch is the plain classifier. Two on the same image are the hybrid of ResNet50 (2048 features) and
    VGG16 (4096), joined to 6144. Branches with an `input` of their own are the multimodal networks:
    Inception-V3 on grey image and elastogram joins 2048 + 2048 to 4096.

    A sample may lack an input: what stands in its place in the batch then has no part in its result, nor in
    the batch norm of the branch.

    Args:
        branches: Settings of each branch by its name (`fibrolab.models.branches.build_branch`).
        head: Settings of `build_head` but for its sizes and its output; or `_target_`, the dotted path of an
            `nn.Module` of the user's own that takes `in_features`, `num_classes`, `output` (as `build_head`)
            and these settings.
        num_classes: Number of classes, K.
        image_size: Side of the square images [px].
        fusion: `name`, one of `FUSIONS`, with its settings (default: ``concatenate``), and
            `modality_dropout`, the proportion of inputs that a sample loses in training, never all that it
            has. With `_target_`, an `nn.Module` of the user's own that takes `sizes` and these settings, has
            `num_features`, and is called as `Concatenate`.
        output: Builds the last layer of the head (`build_head`).
        clinical: `columns` of the batch's clinical values, their `mean` and `sd` over the training samples.

    Attributes:
        branches: The branches by name, in the order of their features.
        fusion: What joins them.
        head: The dense layers.
        inputs: The batch keys that the network takes, each once.
        num_features: Length of the joined feature vector.

    Raises:
        ConfigError: There is no branch, or settings are unknown or out of range; all are listed.
        WeightsError: A branch's weights cannot be found, fetched or fitted.
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
        joint: dict[str, Any] = {"name": "concatenate", MODALITY_DROPOUT: 0.0, **(fusion or {})}
        refuse(_faults(branches, head, joint, clinical))
        self.branches = _built(branches, image_size, clinical)
        self._keys = {name: settings.get(INPUT, keys.IMAGE) for name, settings in branches.items()}
        self.inputs = tuple(dict.fromkeys(self._keys.values()))
        self.modality_dropout: float = joint.pop(MODALITY_DROPOUT)
        sizes = {name: branch.num_features for name, branch in self._named()}
        self.fusion = _joined(joint, sizes)
        self.num_features: int = self.fusion.num_features
        self.head = _headed(head, self.num_features, num_classes, output)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits (B, outputs) of a batch with `inputs`, or with features instead of pixels."""
        logits: Tensor = self.head(self.encode(batch))
        return logits

    def encode(self, batch: Batch) -> Tensor:
        """Joined features (B, num_features) of a batch; in training, without the inputs that are dropped."""
        present = self._present(batch)
        features = self._features(batch, present)
        masks = {name: present[key] for name, key in self._keys.items() if key in present}
        joined: Tensor = self.fusion(features, masks)
        return joined

    def features(self, batch: Batch) -> dict[str, Tensor]:
        """Return features (B, F) of each branch, zeros where a sample lacks its input; nothing is dropped.

        Raises:
            ConfigError: The batch lacks an entry that a branch takes.
        """
        masks = {key: batch[keys.present(key)] for key in self.inputs if keys.present(key) in batch}
        return self._features(batch, masks)

    def depths(self) -> dict[str, int]:
        """Depth of every parameter by name, the fusion's and the head's being the greatest.

        Branches end at the same depth, whatever their length: their last layers are equally near to the head.
        """
        of_branches = {name: branch.depths() for name, branch in self._named()}
        tops = {name: 1 + max(depths.values(), default=-1) for name, depths in of_branches.items()}
        head = max(tops.values())
        found = {
            f"branches.{name}.{parameter}": depth + head - tops[name]
            for name, depths in of_branches.items()
            for parameter, depth in depths.items()
        }
        return {name: found.get(name, head) for name, _ in self.named_parameters()}

    def at_epoch(self, epoch: int) -> None:
        """Freeze and thaw what this epoch asks for in every branch."""
        for _, branch in self._named():
            branch.at_epoch(epoch)

    def _named(self) -> list[tuple[str, Branch]]:
        return [(name, cast(Branch, branch)) for name, branch in self.branches.items()]

    def _present(self, batch: Batch) -> dict[str, Tensor]:
        """Return masks (B,) of the inputs that some samples lack, in the data or dropped in training."""
        given = [key for key in self.inputs if keys.present(key) in batch]
        drops = self.training and self.modality_dropout > 0
        if not given and not drops:
            return {}
        found = [self._source(name, batch) for name in self._keys]
        every = torch.ones(len(found[0]), dtype=torch.bool, device=found[0].device)
        table = torch.stack([batch.get(keys.present(key), every) for key in self.inputs], dim=1)
        assert table.any(dim=1).all(), "a sample without any input"  # the data refuses it
        if drops:
            table = drop_modalities(table, self.modality_dropout)
        return {key: table[:, n] for n, key in enumerate(self.inputs) if drops or key in given}

    def _features(self, batch: Batch, present: Batch) -> dict[str, Tensor]:
        return {name: self._feature(name, batch, present.get(self._keys[name])) for name in self._keys}

    def _feature(self, name: str, batch: Batch, present: Tensor | None) -> Tensor:
        """Return features (B, F) of one branch, computed only on the rows that have its input.

        What stands in for a missing picture (zeros) would count in the mean and variance of batch norm, in
        training and ever after, so the branch never sees it.
        """
        source, branch = self._source(name, batch), cast(Branch, self.branches[name])
        ready = keys.features(name) in batch
        if present is None:
            return source if ready else branch(source)
        if ready:
            return source.masked_fill(~present.unsqueeze(1), 0)
        rows = present.nonzero().squeeze(1)
        if not len(rows):
            return torch.zeros(len(source), branch.num_features, device=source.device)
        # torch refuses to train batch norm on one row whose map is 1 x 1: a lone row goes in twice.
        fed = rows.repeat(2) if self.training and len(rows) == 1 else rows
        found = branch(source[fed])[: len(rows)]
        return found.new_zeros(len(source), branch.num_features).index_copy(0, rows, found)

    def _source(self, name: str, batch: Batch) -> Tensor:
        """Return the input of a branch: features computed before the training, or its entry of the batch."""
        ready, key = keys.features(name), self._keys[name]
        if ready not in batch and key not in batch:
            raise ConfigError(
                f"model.branches.{name}: the batch has no {key}. It has: {', '.join(sorted(batch))}. "
                "Set the branch's input to one of them."
            )
        return batch[ready] if ready in batch else batch[key]


def drop_modalities(present: Tensor, share: float) -> Tensor:
    """Take inputs away from samples at random, though never the last one.

    Args:
        present: Which samples have which inputs, bool (B, I).
        share: Probability that an input of a sample goes.

    Returns:
        Which are left, bool (B, I).
    """
    draws = torch.rand(present.shape, device=present.device).masked_fill(~present, -1)
    # Where all draws of a sample fall below the share, the largest is as likely to be any input's.
    largest = draws == draws.amax(dim=1, keepdim=True)
    return present & ((draws >= share) | largest)


def _built(branches: Mapping[str, Settings], image_size: int, clinical: Settings | None) -> nn.ModuleDict:
    built, faults = nn.ModuleDict(), []
    for name, settings in branches.items():
        try:
            built[name] = build_branch(name, settings, image_size, clinical)
        except ConfigError as fault:
            faults.append(str(fault))
    refuse(faults)
    return built


def _joined(settings: dict[str, Any], sizes: Mapping[str, int]) -> Any:
    """Build the fusion that settings name, ours or the user's own."""
    name, target = settings.pop("name"), settings.pop(TARGET, None)
    if target is None:
        return FUSIONS[name](sizes, **settings)
    built = call(imported(target, f"model.fusion.{TARGET}"), "model.fusion", sizes=sizes, **settings)
    if not (isinstance(built, nn.Module) and isinstance(getattr(built, "num_features", None), int)):
        raise ConfigError(
            f"model.fusion.{TARGET}={target} must be an nn.Module with the attribute num_features."
        )
    return built


def _headed(
    settings: Settings, in_features: int, num_classes: int, output: Callable[[int], nn.Module] | None
) -> nn.Module:
    """Build the head that settings describe, ours or the user's own."""
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
        allowed = settings_of(build_head, but=("in_features", "num_classes", "output"))
        faults += [unknown("model.head", key, allowed) for key in head if key not in allowed]
    inputs = {given.get(INPUT, keys.IMAGE) for given in branches.values() if isinstance(given, Mapping)}
    return faults + _fusion_faults(fusion, len(inputs))


def _fusion_faults(fusion: Settings, num_inputs: int) -> list[str]:
    name, share = fusion["name"], fusion[MODALITY_DROPOUT]
    faults = []
    if TARGET not in fusion:
        if name not in FUSIONS:
            return [unknown("model.fusion.name", name, FUSIONS)]
        allowed = ["name", MODALITY_DROPOUT, *settings_of(FUSIONS[name], but=("sizes",))]
        faults = [unknown("model.fusion", key, allowed) for key in fusion if key not in allowed]
    where = f"model.fusion.{MODALITY_DROPOUT}: {share}"
    if not isinstance(share, int | float) or not 0 <= share < 1:
        faults.append(f"{where} is no share. Give a number from 0 to below 1.")
    elif share and num_inputs < 2:
        faults.append(
            f"{where} of one input would leave samples with nothing. "
            "Set it to 0, or add a branch with another input."
        )
    return faults
