"""Late fusion: any number of backbones side by side, their features joined in front of one head."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fibrolab import keys
from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError
from fibrolab.models.backbones import Backbone
from fibrolab.models.heads import build_head

INPUT = "input"  # setting of a branch: the key of the batch that it eats


class LateFusion(nn.Module):
    """Backbones on entries of a batch -> concatenated features -> dense head -> logits.

    One branch is the plain classifier. Two on the same image are the hybrid of ResNet50 (2048 features) and
    VGG16 (4096), joined to 6144. Branches with an `input` of their own are the multimodal networks.

    Args:
        branches: Settings of each `Backbone` by the branch's name, with `input`, the batch key that the
            branch eats (default ``image``).
        head: Settings of `build_head` but for its two sizes.
        num_classes: Number of logits, K.
        image_size: Side of the square images [px].

    Attributes:
        branches: The backbones by name, in the order of their features.
        head: The dense layers.
        inputs: The batch keys that the network eats, each once.
        num_features: Length of the joined feature vector.

    Raises:
        ConfigError: There is no branch, or settings are unknown or out of range; all are listed.
        WeightsError: A branch's weights cannot be found, fetched or fitted.
    """

    def __init__(
        self,
        branches: Mapping[str, Mapping[str, Any]],
        head: Mapping[str, Any],
        num_classes: int,
        image_size: int,
    ) -> None:
        super().__init__()
        refuse(_faults(branches, head))
        self.branches = nn.ModuleDict()
        self._keys: dict[str, str] = {}
        faults = []
        for name, settings in branches.items():
            rest = dict(settings)
            self._keys[name] = rest.pop(INPUT, keys.IMAGE)
            try:
                self.branches[name] = Backbone(**rest, image_size=image_size)
            except ConfigError as fault:
                faults.append(f"model.branches.{name}: {fault}")
        refuse(faults)
        self.inputs = tuple(dict.fromkeys(self._keys.values()))
        self.num_features = sum(branch.num_features for branch in self._backbones())
        self.head = build_head(self.num_features, num_classes, **head)

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, K) of a batch with an image (B, 1 or 3, H, W) under each of `inputs`."""
        logits: Tensor = self.head(self.encode(batch))
        return logits

    def encode(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Joined features (B, num_features) of a batch, in the order of `branches`.

        Raises:
            ConfigError: The batch lacks an entry that a branch eats.
        """
        if missing := [key for key in self.inputs if key not in batch]:
            raise ConfigError(
                f"model.branches: the batch has no {', '.join(missing)}. It has: {', '.join(sorted(batch))}. "
                "Set the branch's input to one of them."
            )
        return torch.cat([self.branches[name](batch[key]) for name, key in self._keys.items()], dim=1)

    def _backbones(self) -> list[Backbone]:
        return [branch for branch in self.branches.values() if isinstance(branch, Backbone)]


def _faults(branches: Mapping[str, Mapping[str, Any]], head: Mapping[str, Any]) -> list[str]:
    faults = []
    if not branches:
        faults.append("model.branches: there is no branch. Give at least one backbone.")
    settings = [*_settings(Backbone, but=("image_size",)), INPUT]
    for name, given in branches.items():
        if not name.isidentifier() or hasattr(nn.ModuleDict(), name):
            faults.append(f"model.branches: '{name}' cannot name a branch. Use a word, such as 'image'.")
        faults += [unknown(f"model.branches.{name}", key, settings) for key in given if key not in settings]
        if given.get(INPUT) == keys.CLIP:
            faults.append(f"model.branches.{name}: a backbone of pictures eats no clips. Give input=image.")
        if "name" not in given:
            faults.append(f"model.branches.{name}: it names no backbone. Give name, such as resnet18.")
    settings = _settings(build_head, but=("in_features", "num_classes"))
    return faults + [unknown("model.head", key, settings) for key in head if key not in settings]


def _settings(build: Callable[..., Any], but: tuple[str, ...]) -> list[str]:
    return [name for name in inspect.signature(build).parameters if name not in but]
