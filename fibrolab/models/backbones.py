"""The interface of every backbone: from an image or a clip (bytes) to a feature vector."""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError
from fibrolab.models import freezing
from fibrolab.models.networks import (
    build_network,
    build_user_network,
    fault_of_name,
    map_of_layer,
    published_weights,
    size_fault,
    square_map,
)
from fibrolab.models.weights import WeightsReport, load_weights

POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "avg": lambda features: features.flatten(2).mean(2),
    "max": lambda features: features.flatten(2).amax(2),
    "flatten": lambda features: features.flatten(1),
}
NATIVE = "native"  # the pooling of the network itself, in front of its classifier
SCALINGS = ("backbone", "unit")
CHANNELS = 3  # of the input that networks trained on ImageNet expect


class Backbone(nn.Module):
    """A network of timm or torchvision without its classifier.

    Images arrive as bytes of one channel. They are scaled and expanded to three channels only here, so that
    loading and transfer handle a third of the channels and a quarter of the bytes per value.

    Args:
        name: Any network of timm, such as ``resnet50``, also with a tag of its weights (``vgg16.tv_in1k``);
            or ``googlenet``, ``r3d_18``, ``mc3_18`` or ``r2plus1d_18`` of torchvision, the last three for
            clips.
        pretrained: Start from the weights that the network's library publishes.
        weights: Start from this file instead (see `fibrolab.models.weights.load_weights`).
        pooling: ``native`` for the network's own pooling (ResNet50: average, 2048 values; VGG16: two dense
            layers, 4096), or ``avg``, ``max`` or ``flatten`` of the last feature map (VGG16 at 224 px:
            512 x 7 x 7 = 25,088).
        freeze: The part that does not train: ``none``, ``all``, ``gradual``, or the name of a layer for
            everything up to and including it, such as ``layer3`` or ``blocks.3.1`` (see
            `freezing.frozen_parameters`). Frozen parameters have no gradients; batch norm and dropout of
            frozen layers stay in evaluation mode while the rest trains.
        unfreeze_every: Epochs from one stage to the next under gradual freezing.
        scaling: ``backbone`` for (x / 255 - mean) / std with the network's own mean and standard deviation,
            or ``unit`` for x / 255.
        image_size: Side of the square images [px].
        _target_: Dotted path of the user's own network (`fibrolab.models.networks.build_user_network`);
            `name` is then free.
        **settings: Arguments of the user's own network.

    Attributes:
        network: The network of timm, of torchvision or of the user.
        num_features: Length of the feature vector.
        mean: Mean that scaling subtracts, (1, 3, 1, 1), in [0, 1]; (1, 3, 1, 1, 1) for clips.
        std: Standard deviation that scaling divides by, of the same shape.
        native_size: Side of the images that the published weights were trained on [px].
        takes_clips: Whether the network takes clips, not images.
        layers: Name of the last layer of each stage, from the input to the head.
        frozen: Whether no parameter trains in any epoch.
        weights_report: The matched keys if weights were loaded, otherwise None.

    Raises:
        ConfigError: A setting is unknown or the network cannot take images of that size.
        WeightsError: The weights cannot be found or downloaded, or do not fit.
    """

    network: Any  # not nn.Module: networks of timm have further attributes
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        weights: str | None = None,
        pooling: str = NATIVE,
        freeze: str = freezing.NONE,
        unfreeze_every: int = 1,
        scaling: str = "backbone",
        image_size: int = 224,
        _target_: str = "",
        **settings: Any,
    ) -> None:
        super().__init__()
        refuse(_faults(name, pretrained, weights, pooling, unfreeze_every, scaling, _target_))
        # Before the network is built, because that may take seconds:
        source = published_weights(name) if pretrained else weights
        self.name, self.pooling, self.scaling, self.image_size = name, pooling, scaling, image_size
        self.freeze, self.unfreeze_every, self.frozen = freeze, unfreeze_every, False
        built = (
            build_user_network(_target_, image_size, settings)
            if _target_
            else build_network(name, image_size)
        )
        self.network, self.native_size, self.takes_clips = built.module, built.native_size, built.takes_clips
        self._register_scaling(built.mean, built.std)
        self._check_compatible(built.stride)
        self.num_features = self._probe()
        refuse([fault] if (fault := freezing.fault_of_freezing(self.network, freeze)) else [])
        self.layers = tuple(freezing.layers(self.network))
        self.weights_report: WeightsReport | None = None
        if source is not None:
            self.weights_report = load_weights(self.network, source, adapt=built.adapt)
        self.at_epoch(0)
        trains = any(parameter.requires_grad for parameter in self.parameters())
        self.frozen = not trains and freeze != freezing.GRADUAL
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Return feature vectors (B, num_features).

        Args:
            images: (B, 1 or 3, H, W), or clips (B, 1 or 3, T, H, W) for a network that takes clips; uint8, or
                float in 0..255.
        """
        if self.pooling == NATIVE:
            features: Tensor = self.network(self.scale(images))
            return features
        return POOLINGS[self.pooling](self.feature_map(images))

    def feature_map(self, images: Tensor) -> Tensor:
        """Return the last feature map (B, C, h, w), of clips (B, C, t, h, w), before any pooling.

        Raises:
            ConfigError: The network has no square feature map; only its native pooling can be used.
        """
        forward = getattr(self.network, "forward_features", lambda images: None)
        features = square_map(forward(self.scale(images)), self.network)
        if features is None:
            raise ConfigError(f"pooling: {self.name} has no feature map to pool. Use pooling: {NATIVE}.")
        return features

    @cached_property
    def map_sizes(self) -> dict[str, tuple[int, ...]]:
        """Size (h, w), or (t, h, w) for one frame, of the map of each layer, in the order of their output.

        Layers without a map, and those after the pooling, are left out.
        """
        sizes: dict[str, tuple[int, ...]] = {}

        def record(name: str, layer: nn.Module, output: object) -> None:
            found = map_of_layer(output, layer, self.network)
            if found is not None and len(found) == 1:
                sizes[name] = tuple(found.shape[2:])

        hooks = [
            layer.register_forward_hook(lambda layer, _, output, name=name: record(name, layer, output))
            for name, layer in self.network.named_modules()
            if name
        ]
        forward = getattr(self.network, "forward_features", self.network)
        modes = {layer: layer.training for layer in self.modules()}
        self.eval()
        try:
            with torch.no_grad():
                forward(self.scale(self._blank()))
        finally:
            for hook in hooks:
                hook.remove()
            for layer, mode in modes.items():
                layer.training = mode
        return sizes

    @property
    def feature_layer(self) -> str | None:
        """Layer with the last map of more than one position, which class activation maps explain.

        If only a class token reaches the head, the patches of the last block have no gradient; the layer is
        then the input of the last block's attention. None if no stage has such a map.
        """
        network, sizes = self.network, self.map_sizes
        stages = [*reversed(self.layers)]
        if getattr(network, "global_pool", None) == "token" and hasattr(network, "blocks"):
            stages.insert(0, f"blocks.{len(network.blocks) - 1}.norm1")
        elif sizes:
            stages.insert(0, list(sizes)[-1])
        return next((name for name in stages if math.prod(sizes.get(name, ())[-2:]) > 1), None)

    def scale(self, images: Tensor) -> Tensor:
        """Return the scaled input (B, 3, ...); subtracting the mean (3 channels) expands 1 channel to 3."""
        return (images.to(self.mean.dtype) / 255 - self.mean) / self.std

    def depths(self) -> dict[str, int]:
        """Return the depth of every parameter by name, 0 in the stage nearest the input."""
        return {f"network.{name}": depth for name, depth in freezing.depths(self.network).items()}

    def at_epoch(self, epoch: int) -> None:
        """Unfreeze the stages scheduled for this epoch (from 0) and freeze the others."""
        freezing.freeze_parameters(
            self.network, freezing.frozen_parameters(self.network, self.freeze, epoch, self.unfreeze_every)
        )
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """Switch to training mode; frozen layers stay in evaluation mode."""
        super().train(mode and not self.frozen)
        for module in freezing.frozen_layers(self.network):
            module.training = False
        return self

    def _register_scaling(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        own = self.scaling == "backbone"
        axes = (1,) * (3 if self.takes_clips else 2)
        for key, values, unit in (("mean", mean, 0.0), ("std", std, 1.0)):
            scales = torch.tensor(values if own else (unit,) * CHANNELS)
            self.register_buffer(key, scales.view(1, CHANNELS, *axes), persistent=False)

    def _check_compatible(self, stride: int) -> None:
        """Refuse settings that do not fit the network."""
        faults = []
        if self.image_size < stride:
            reason = f"one value of its feature map covers {stride} px, so they need {stride} px or more"
            faults.append(size_fault(self.name, self.image_size, reason))
        if self.takes_clips and self.pooling == "flatten":
            faults.append(
                "pooling: flatten would make the number of features depend on the clip's length. "
                "Use native, avg or max."
            )
        refuse(faults)

    def _blank(self) -> Tensor:
        """Return one black image (1, 1, H, W), or a clip of one frame."""
        frames = (1,) if self.takes_clips else ()
        return torch.zeros(1, 1, *frames, self.image_size, self.image_size, device=self.mean.device)

    def _probe(self) -> int:
        """Run one blank image, remove the layers that did not run, and return the length of the features."""
        self.eval()  # in training mode, batch norm fails on a single image or changes its statistics
        ran: set[nn.Module] = set()
        hooks = [m.register_forward_hook(lambda m, *_: ran.add(m)) for m in self.network.modules()]
        try:
            with torch.no_grad():
                length = self(self._blank()).shape[1]
        except (RuntimeError, AssertionError, ValueError) as fault:
            raise ConfigError(size_fault(self.name, self.image_size, fault)) from fault
        finally:
            for hook in hooks:
                hook.remove()
        for name, child in list(self.network.named_children()):
            if ran.isdisjoint(child.modules()) and any(True for _ in child.parameters()):
                setattr(self.network, name, nn.Identity())  # e.g. 120 million weights of VGG16's dense layers
        return int(length)


def _faults(
    name: str,
    pretrained: bool,
    weights: str | None,
    pooling: str,
    unfreeze_every: int,
    scaling: str,
    target: str,
) -> list[str]:
    faults = [fault] if not target and (fault := fault_of_name(name)) else []
    if not isinstance(pretrained, bool):
        faults.append(f"pretrained: {pretrained} is neither true nor false.")
    if target and pretrained:
        faults.append(
            f"pretrained: {name} is not from timm or torchvision and has no published weights. "
            "Give weights: PATH."
        )
    for setting, given, allowed in (
        ("pooling", pooling, (NATIVE, *POOLINGS)),
        ("scaling", scaling, SCALINGS),
    ):
        if given not in allowed:
            faults.append(unknown(setting, given, allowed))
    if not isinstance(unfreeze_every, int) or unfreeze_every < 1:
        faults.append(
            f"unfreeze_every: {unfreeze_every} is not a number of epochs. Give a whole number, 1 or more."
        )
    if pretrained and weights is not None:
        faults.append(f"pretrained: true and weights: {weights} contradict each other. Keep one of them.")
    return faults
