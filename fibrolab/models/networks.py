"""Networks by name: image networks of timm, GoogLeNet and the video networks of torchvision."""

import inspect
import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn
from torchvision import models
from torchvision.models import video

from fibrolab.choices import unknown
from fibrolab.errors import ConfigError
from fibrolab.models.hub import own_weights, timm_weights, torchvision_weights
from fibrolab.models.inflation import inflation_adapter, refuse_image_weights
from fibrolab.models.weights import Adapter, State
from fibrolab.targets import call, imported

# Names, in timm's model files, of the function that converts other libraries' checkpoints to timm's names and
# shapes; checkpoints of torchvision's VGG and DenseNet need it. timm has no public way to reach it.
CHECKPOINT_FILTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")
HALF = (0.5, 0.5, 0.5)  # mean and standard deviation of an input from -1 to 1
POOL = "avgpool"  # torchvision's name of the layer after the last feature map


@dataclass(frozen=True)
class Network:
    """A network without its classifier, with the properties of its input.

    Attributes:
        module: From (B, 3, H, W), or (B, 3, T, H, W) for a video network, to features (B, F); its
            `forward_features` returns the feature map before pooling.
        mean: Mean of each colour in [0, 1], as in the training of the published weights.
        std: Standard deviation of each colour.
        native_size: Side of the images that the published weights were trained on [px].
        stride: Side of the image region that corresponds to one position of the last feature map [px].
        takes_clips: Whether the network takes clips, not images.
        adapt: Function that converts a foreign checkpoint to the names and shapes of this network.
    """

    module: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    native_size: int
    stride: int
    takes_clips: bool
    adapt: Adapter


@dataclass(frozen=True)
class TorchvisionNetwork:
    """A network of torchvision: its builder, its published weights, and the properties of its input."""

    build: Callable[..., nn.Module]
    weights: Any  # a member of one of torchvision's enums
    stride: int
    takes_clips: bool
    adapter: Callable[[nn.Module], Adapter]
    centred: bool = False  # takes input from -1 to 1, whatever the transforms of its weights say


class Chain(nn.Sequential):
    """The children of a torchvision network in sequence, from the input to its pooling.

    Parameters keep torchvision's names; dropout and classifier after the pooling are removed.
    """

    def __init__(self, network: nn.Module) -> None:
        children = list(network.named_children())
        names = [name for name, _ in children]
        assert POOL in names, f"{type(network).__name__} has no layer '{POOL}' after its feature map: {names}"
        end = names.index(POOL)
        super().__init__(OrderedDict(children[: end + 1]))

    def forward_features(self, images: Tensor) -> Tensor:
        """Return the last feature map, (B, C, h, w) or (B, C, t, h, w)."""
        for layer in list(self)[:-1]:
            images = layer(images)
        return images

    def forward(self, images: Tensor) -> Tensor:
        """Return the average of the feature map, (B, C)."""
        pooled: Tensor = self[-1](self.forward_features(images))
        return pooled.flatten(1)


def _googlenet() -> nn.Module:
    return models.googlenet(aux_logits=False, init_weights=True)


# torchvision's GoogLeNet rescales ImageNet-normalised input to -1..1 itself (`transform_input`). Here the
# input is scaled to -1..1 directly (`centred`).
TORCHVISION = {
    "googlenet": TorchvisionNetwork(
        _googlenet, models.GoogLeNet_Weights.DEFAULT, 32, False, lambda network: _unchanged, centred=True
    ),
    "r3d_18": TorchvisionNetwork(video.r3d_18, video.R3D_18_Weights.DEFAULT, 16, True, inflation_adapter),
    "mc3_18": TorchvisionNetwork(video.mc3_18, video.MC3_18_Weights.DEFAULT, 16, True, inflation_adapter),
    "r2plus1d_18": TorchvisionNetwork(
        video.r2plus1d_18, video.R2Plus1D_18_Weights.DEFAULT, 16, True, lambda network: refuse_image_weights
    ),
}


def fault_of_name(name: str) -> str | None:
    """Return a sentence on an unknown network name with the nearest names; None if it is known."""
    if name in TORCHVISION:
        return None
    if not timm.is_model(name):
        return unknown("backbone", name, [*timm.list_models(), *TORCHVISION])
    if "." in name and name not in timm.list_pretrained():
        return unknown("backbone", name, timm.list_pretrained(f"{name.split('.')[0]}.*"))
    return None


def has_published_weights(name: str) -> bool:
    """Return whether the library of a known network publishes weights for it."""
    if name in TORCHVISION:
        return True
    config = timm.get_pretrained_cfg(name)
    return config is not None and bool(config.hf_hub_id)


def published_weights(name: str) -> Path:
    """Return the file of weights that a network's library publishes, or the user's copy of it.

    Raises:
        WeightsError: No weights are published, or they cannot be downloaded.
    """
    if (own := own_weights(name)) is not None:
        return own
    if name in TORCHVISION:
        return torchvision_weights(TORCHVISION[name].weights.url)
    return timm_weights(name)


def build_network(name: str, image_size: int) -> Network:
    """Build a network by its name, with random weights.

    Args:
        name: One of `TORCHVISION`, or any network of timm.
        image_size: Side of the images [px]; used for timm networks that are built for one size.

    Raises:
        ConfigError: The network cannot be built for images of that size.
    """
    if name in TORCHVISION:
        return _build_torchvision(TORCHVISION[name])
    config = timm.get_pretrained_cfg(name)
    size: dict[str, Any] = {"img_size": image_size} if config is not None and config.fixed_input_size else {}
    try:
        module: Any = timm.create_model(name, num_classes=0, **size)
    except (RuntimeError, AssertionError, ValueError, ZeroDivisionError) as fault:
        raise ConfigError(size_fault(name, image_size, fault)) from fault
    known = module.pretrained_cfg
    return Network(
        module=module,
        mean=tuple(known["mean"]),
        std=tuple(known["std"]),
        native_size=known["input_size"][-1],
        stride=max((info["reduction"] for info in getattr(module, "feature_info", ())), default=1),
        takes_clips=False,
        adapt=_timm_adapter(module),
    )


def build_user_network(target: str, image_size: int, settings: Mapping[str, Any]) -> Network:
    """Build the user's own network: any `nn.Module` from images (B, 3, H, W) to features (B, F).

    The module may have attributes `mean` and `std` of its input, three numbers each in [0, 1]; without them
    all are 0.5, which gives an input from -1 to 1. It may have a method `forward_features` that returns the
    feature map before pooling.

    Args:
        target: Dotted path of the class, or of a function that returns the network.
        image_size: Side of the images [px].
        settings: Arguments of the class or function.

    Raises:
        ConfigError: The target cannot be imported or does not take these arguments, or the result is not an
            `nn.Module`.
    """
    module = call(imported(target, "_target_"), "its network", **settings)
    if not isinstance(module, nn.Module):
        raise ConfigError(f"_target_={target} is not an nn.Module.")
    mean, std = (tuple(map(float, getattr(module, key, HALF))) for key in ("mean", "std"))
    return Network(module, mean, std, image_size, 1, False, _unchanged)


def size_fault(name: str, image_size: int, reason: object) -> str:
    """Return a sentence on a network that cannot take images of this size [px]."""
    return (
        f"backbone: {name} cannot take images of {image_size} px ({reason}). "
        "Set another preprocess.size, or another backbone."
    )


def square_map(features: object, module: nn.Module) -> Tensor | None:
    """Return features as a map (B, C, h, w) or (B, C, t, h, w); None if they do not form a map."""
    if not isinstance(features, Tensor):
        return None
    if features.ndim in (4, 5):
        channels_last = getattr(module, "output_fmt", "NCHW") == "NHWC"
        return features.movedim(-1, 1) if channels_last else features
    if features.ndim == 3:
        patches = features[:, getattr(module, "num_prefix_tokens", 0) :]
        side = math.isqrt(patches.shape[1])
        if side * side == patches.shape[1]:
            return patches.transpose(1, 2).unflatten(2, (side, side))  # (B, h*w, C) -> (B, C, h, w)
    return None


def map_of_layer(output: object, layer: nn.Module, network: nn.Module) -> Tensor | None:
    """Return the output of one layer of a network as a map, see `square_map`; None if it is none."""
    if isinstance(output, Tensor) and isinstance(layer, nn.Conv2d | nn.Conv3d):
        return output  # channels first, also in a network whose blocks have them last
    return square_map(output, network)


def _build_torchvision(known: TorchvisionNetwork) -> Network:
    transforms = known.weights.transforms()
    module = Chain(known.build())
    return Network(
        module=module,
        mean=HALF if known.centred else tuple(transforms.mean),
        std=HALF if known.centred else tuple(transforms.std),
        native_size=transforms.crop_size[0],
        stride=known.stride,
        takes_clips=known.takes_clips,
        adapt=known.adapter(module),
    )


def _unchanged(state: State) -> State:
    return state


def _timm_adapter(network: nn.Module) -> Adapter:
    """Return timm's function that converts foreign checkpoints to the names and shapes of this family."""
    family = sys.modules[type(network).__module__]
    translate = next((getattr(family, name) for name in CHECKPOINT_FILTERS if hasattr(family, name)), None)

    def adapt(state: State) -> State:
        if translate is None:
            return state
        takes_network = len(inspect.signature(translate).parameters) > 1
        try:
            return translate(dict(state), network) if takes_network else translate(dict(state))
        except (KeyError, IndexError, AttributeError, RuntimeError, ValueError):
            return state  # another architecture: the comparison of keys reports it

    return adapt
