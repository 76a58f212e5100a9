"""One contract for every backbone: bytes of an image in, a vector of features out."""

import inspect
import math
import sys
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn

from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError
from fibrolab.models.hub import published_weights
from fibrolab.models.weights import Adapter, State, WeightsReport, load_weights

POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "avg": lambda features: features.mean((2, 3)),
    "max": lambda features: features.amax((2, 3)),
    "flatten": lambda features: features.flatten(1),
}
NATIVE = "native"  # whatever the network itself does in front of its classifier
FREEZING = ("none", "all")
SCALINGS = ("backbone", "unit")
CHANNELS = 3  # that every network of ImageNet expects

# What timm's families call the function that takes another library's checkpoint to timm's names and shapes;
# torchvision's VGG and DenseNet files need it. timm has no public way to reach it.
CHECKPOINT_FILTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")


class Backbone(nn.Module):
    """A network of timm without its classifier.

    Images arrive as bytes of one channel and are scaled and widened to three channels here, last of all, so
    that everything in front of the network moves a third of the channels and a quarter of the bytes.

    Args:
        name: Any network of timm, such as ``resnet50``, or with a tag of its weights: ``vgg16.tv_in1k``.
        pretrained: Start from the weights that timm publishes.
        weights: Start from this file instead (see `fibrolab.models.weights.load_weights`).
        pooling: ``native`` as the network itself does it (ResNet50: average, 2048 values; VGG16: its two
            dense layers, 4096), or ``avg``, ``max`` or ``flatten`` of the last feature map (VGG16 at 224 px:
            512 x 7 x 7 = 25,088).
        freeze: ``none``, or ``all``: no gradients, and batch norm and dropout as in evaluation even while the
            rest trains.
        scaling: ``backbone`` for (x / 255 - mean) / std with the network's own mean and standard deviation,
            or ``unit`` for x / 255.
        image_size: Side of the square images [px].

    Attributes:
        network: The network of timm.
        num_features: Length of the feature vector.
        mean: What scaling subtracts, (1, 3, 1, 1), in [0, 1].
        std: What scaling divides by, (1, 3, 1, 1).
        scaling: As given.
        frozen: Whether all of it is frozen.
        weights_report: What matched, where weights were loaded.

    Raises:
        ConfigError: A setting is unknown or the network cannot take images of that size.
        WeightsError: The weights cannot be found, fetched or fitted.
    """

    network: Any  # a network of timm: it has more than nn.Module promises
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        pretrained: bool = False,
        weights: str | None = None,
        pooling: str = NATIVE,
        freeze: str = "none",
        scaling: str = "backbone",
        image_size: int = 224,
    ) -> None:
        super().__init__()
        refuse(_faults(name, pretrained, weights, pooling, freeze, scaling))
        source = published_weights(name) if pretrained else weights  # before the network: it may take seconds
        self.name, self.pooling, self.scaling, self.image_size = name, pooling, scaling, image_size
        self.frozen = freeze == "all"
        self.network = _build(name, image_size)
        self._register_scaling()
        self.num_features = self._probe()
        self.weights_report: WeightsReport | None = None
        if source is not None:
            self.weights_report = load_weights(self.network, source, adapt=_adapter(self.network))
        self.requires_grad_(not self.frozen)
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Feature vectors (B, num_features) of images (B, 1 or 3, H, W), uint8 or float in 0..255."""
        if self.pooling == NATIVE:
            with self._gradients(images):
                features: Tensor = self.network(self.scale(images))
                return features
        return POOLINGS[self.pooling](self.feature_map(images))

    def feature_map(self, images: Tensor) -> Tensor:
        """The last feature map (B, C, h, w) of images (B, 1 or 3, H, W), before any pooling.

        Raises:
            ConfigError: The network keeps no square map, so that only its native pooling can be used.
        """
        with self._gradients(images):
            features = self.network.forward_features(self.scale(images))
        if isinstance(features, Tensor) and features.ndim == 4:
            channels_last = getattr(self.network, "output_fmt", "NCHW") == "NHWC"
            return features.permute(0, 3, 1, 2) if channels_last else features
        if isinstance(features, Tensor) and features.ndim == 3:
            patches = features[:, getattr(self.network, "num_prefix_tokens", 0) :]
            side = math.isqrt(patches.shape[1])
            if side * side == patches.shape[1]:
                return patches.transpose(1, 2).unflatten(2, (side, side))  # (B, h*w, C) -> (B, C, h, w)
        raise ConfigError(f"pooling: {self.name} keeps no feature map to pool. Use pooling: {NATIVE}.")

    def scale(self, images: Tensor) -> Tensor:
        """What the network eats, (B, 3, H, W): subtracting one mean a channel makes three channels of one."""
        return (images.to(self.mean.dtype) / 255 - self.mean) / self.std

    def train(self, mode: bool = True) -> "Backbone":
        """Switch to training, but for a frozen backbone, which stays in evaluation."""
        super().train(mode and not self.frozen)
        return self

    def _gradients(self, images: Tensor) -> torch.set_grad_enabled:
        """No graph through a frozen network, unless it is asked for down to the pixels (saliency maps)."""
        needed = not self.frozen or images.requires_grad
        return torch.set_grad_enabled(torch.is_grad_enabled() and needed)

    def _register_scaling(self) -> None:
        config = self.network.pretrained_cfg
        own = self.scaling == "backbone"
        for key, unit in (("mean", 0.0), ("std", 1.0)):
            values = config[key] if own else (unit,) * CHANNELS
            self.register_buffer(key, torch.tensor(values).view(1, CHANNELS, 1, 1), persistent=False)

    def _probe(self) -> int:
        """Length of the feature vector, found with one blank image; layers that stay idle are removed."""
        self.eval()  # a single image would break batch norm, and must leave no trace in its statistics
        blank = torch.zeros(1, 1, self.image_size, self.image_size)
        ran: set[nn.Module] = set()
        hooks = [m.register_forward_hook(lambda m, *_: ran.add(m)) for m in self.network.modules()]
        try:
            with torch.no_grad():
                length = self(blank).shape[1]
        except (RuntimeError, AssertionError, ValueError) as fault:
            raise ConfigError(_too_small(self.name, self.image_size, fault)) from fault
        finally:
            for hook in hooks:
                hook.remove()
        for name, child in list(self.network.named_children()):
            if ran.isdisjoint(child.modules()) and any(True for _ in child.parameters()):
                setattr(self.network, name, nn.Identity())  # VGG16's dense layers: 120 million values unused
        return int(length)


def _faults(
    name: str, pretrained: bool, weights: str | None, pooling: str, freeze: str, scaling: str
) -> list[str]:
    faults = []
    if not timm.is_model(name):
        faults.append(unknown("backbone", name, timm.list_models()))
    elif "." in name and name not in timm.list_pretrained():
        faults.append(unknown("backbone", name, timm.list_pretrained(f"{name.split('.')[0]}.*")))
    for setting, given, allowed in (
        ("pooling", pooling, (NATIVE, *POOLINGS)),
        ("freeze", freeze, FREEZING),
        ("scaling", scaling, SCALINGS),
    ):
        if given not in allowed:
            faults.append(unknown(setting, given, allowed))
    if pretrained and weights is not None:
        faults.append(f"pretrained: true and weights: {weights} contradict each other. Keep one of them.")
    return faults


def _build(name: str, image_size: int) -> nn.Module:
    config = timm.get_pretrained_cfg(name)
    size: dict[str, Any] = {"img_size": image_size} if config is not None and config.fixed_input_size else {}
    try:
        return timm.create_model(name, num_classes=0, **size)
    except (RuntimeError, AssertionError, ValueError) as fault:
        raise ConfigError(_too_small(name, image_size, fault)) from fault


def _too_small(name: str, image_size: int, fault: Exception) -> str:
    return (
        f"backbone: {name} cannot take images of {image_size} px ({fault}). "
        "Set another preprocess.size, or another backbone."
    )


def _adapter(network: nn.Module) -> Adapter:
    """What takes foreign checkpoints to the names and shapes of this family, as timm does it."""
    family = sys.modules[type(network).__module__]
    translate = next((getattr(family, name) for name in CHECKPOINT_FILTERS if hasattr(family, name)), None)

    def adapt(state: State) -> State:
        if translate is None:
            return state
        takes_network = len(inspect.signature(translate).parameters) > 1
        try:
            return translate(dict(state), network) if takes_network else translate(dict(state))
        except (KeyError, IndexError, AttributeError, RuntimeError, ValueError):
            return state  # a file of another architecture: comparing the keys will say so

    return adapt
