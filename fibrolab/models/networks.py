"""Networks by name: timm's for images, torchvision's GoogLeNet and its networks for video."""

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
from fibrolab.models.hub import timm_weights, torchvision_weights
from fibrolab.models.inflation import images_refused, inflated
from fibrolab.models.weights import Adapter, State
from fibrolab.targets import call, imported

# What timm's families call the function that takes another library's checkpoint to timm's names and shapes;
# torchvision's VGG and DenseNet files need it. timm has no public way to reach it.
CHECKPOINT_FILTERS = ("checkpoint_filter_fn", "_filter_fn", "_filter_torchvision_pretrained")
HALF = (0.5, 0.5, 0.5)  # mean and standard deviation of an input from -1 to 1
POOL = "avgpool"  # what torchvision calls the layer behind the last feature map


@dataclass(frozen=True)
class Network:
    """A network without its classifier, and what one must know to feed it.

    Attributes:
        module: (B, 3, H, W), or (B, 3, T, H, W) of a network for video -> features (B, F); its
            `forward_features` stops in front of the pooling.
        mean: Of each colour in [0, 1], as in the training of the published weights.
        std: Standard deviation of each.
        native_size: Side of the images that the published weights were trained on [px].
        stride: Side of the patch of the image behind one value of the last feature map's grid [px].
        takes_clips: Whether it takes clips, not images.
        adapt: Takes a foreign checkpoint to the names and shapes of this network.
    """

    module: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    native_size: int
    stride: int
    takes_clips: bool
    adapt: Adapter


@dataclass(frozen=True)
class Published:
    """A network of torchvision: who builds it, which weights there are, how it is fed."""

    build: Callable[..., nn.Module]
    weights: Any  # a member of one of torchvision's enums
    stride: int
    takes_clips: bool
    adapter: Callable[[nn.Module], Adapter]
    centred: bool = False  # fed from -1 to 1, whatever the transforms of its weights say


class Chain(nn.Sequential):
    """A network of torchvision whose children run one after another, from the input up to its pooling.

    The names of the parameters stay those of torchvision; dropout and classifier behind the pooling are gone.
    """

    def __init__(self, network: nn.Module) -> None:
        children = list(network.named_children())
        names = [name for name, _ in children]
        assert POOL in names, f"{type(network).__name__} has no layer '{POOL}' to end the features: {names}"
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


# torchvision's GoogLeNet of ImageNet takes its input from the usual scale to -1..1 by itself
# (`transform_input`); here the input is scaled so at once.
TORCHVISION = {
    "googlenet": Published(
        _googlenet, models.GoogLeNet_Weights.DEFAULT, 32, False, lambda network: _unchanged, centred=True
    ),
    "r3d_18": Published(video.r3d_18, video.R3D_18_Weights.DEFAULT, 16, True, inflated),
    "mc3_18": Published(video.mc3_18, video.MC3_18_Weights.DEFAULT, 16, True, inflated),
    "r2plus1d_18": Published(
        video.r2plus1d_18, video.R2Plus1D_18_Weights.DEFAULT, 16, True, lambda network: images_refused
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


def published_weights(name: str) -> Path:
    """Return the file of the weights that a network's library publishes.

    Raises:
        WeightsError: There are none, or they are out of reach.
    """
    if name in TORCHVISION:
        return torchvision_weights(TORCHVISION[name].weights.url)
    return timm_weights(name)


def build_network(name: str, image_size: int) -> Network:
    """Build a network by its name, with random weights.

    Args:
        name: One of `TORCHVISION`, or any network of timm.
        image_size: Side of the images [px], for networks of timm that are built for one size.

    Raises:
        ConfigError: It cannot be built for images of that size.
    """
    if name in TORCHVISION:
        return _of_torchvision(TORCHVISION[name])
    config = timm.get_pretrained_cfg(name)
    size: dict[str, Any] = {"img_size": image_size} if config is not None and config.fixed_input_size else {}
    try:
        module: Any = timm.create_model(name, num_classes=0, **size)
    except (RuntimeError, AssertionError, ValueError, ZeroDivisionError) as fault:
        raise ConfigError(size_refused(name, image_size, fault)) from fault
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


def users_network(target: str, image_size: int, settings: Mapping[str, Any]) -> Network:
    """Build a network of the user's own: any `nn.Module` from images (B, 3, H, W) to features (B, F).

    It may have the attributes `mean` and `std` of its input, three numbers each in [0, 1] (0.5 each if it has
    none: an input from -1 to 1), and the method `forward_features`, which stops in front of the pooling.

    Args:
        target: Dotted path of the class, or of a function that returns the network.
        image_size: Side of the images [px].
        settings: Arguments.

    Raises:
        ConfigError: It cannot be imported, does not take these arguments, or is not an `nn.Module`.
    """
    module = call(imported(target, "_target_"), "its network", **settings)
    if not isinstance(module, nn.Module):
        raise ConfigError(f"_target_={target} is not an nn.Module.")
    mean, std = (tuple(map(float, getattr(module, key, HALF))) for key in ("mean", "std"))
    return Network(module, mean, std, image_size, 1, False, _unchanged)


def size_refused(name: str, image_size: int, reason: object) -> str:
    """Return a sentence on a network that cannot take images of this size [px]."""
    return (
        f"backbone: {name} cannot take images of {image_size} px ({reason}). "
        "Set another preprocess.size, or another backbone."
    )


def square_map(features: object, module: nn.Module) -> Tensor | None:
    """Return features as a map (B, C, h, w) or (B, C, t, h, w); None where they are not a map."""
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


def _of_torchvision(known: Published) -> Network:
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
            return state  # a file of another architecture: comparing the keys will say so

    return adapt
