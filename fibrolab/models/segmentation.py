"""Networks from an image to a logit of each class at each pixel, by name.

MONAI and segmentation-models-pytorch are imported when a network is built: they take seconds.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fibrolab import keys
from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError, WeightsError
from fibrolab.targets import call, imported

MEAN, SD = 0.25, 0.2  # of the grey levels of an ultrasound image, as proportions of the largest


def attention_unet(
    outputs: int, *, channels: Sequence[int] = (16, 32, 64, 128), dropout: float = 0.0
) -> nn.Module:
    """Build the Attention U-Net of Oktay et al. (MIDL 2018), as MONAI has it.

    Args:
        outputs: Number of classes.
        channels: Feature maps of each resolution, each half of the one before.
        dropout: Proportion of feature maps left out in training.
    """
    from monai.networks.nets import AttentionUnet

    return AttentionUnet(2, 1, outputs, list(channels), _halving(channels), dropout=dropout)


def unet(
    outputs: int,
    *,
    channels: Sequence[int] = (16, 32, 64, 128),
    residual_units: int = 2,
    dropout: float = 0.0,
) -> nn.Module:
    """Build a U-Net with residual units (Kerfoot et al., STACOM 2018), as MONAI has it.

    Args:
        outputs: Number of classes.
        channels: Feature maps of each resolution, each half of the one before.
        residual_units: Convolutions of each residual unit; 0 for the plain U-Net.
        dropout: Proportion of feature maps left out in training.
    """
    from monai.networks.nets import UNet

    strides = _halving(channels)
    return UNet(2, 1, outputs, list(channels), strides, num_res_units=residual_units, dropout=dropout)


def segresnet(outputs: int, *, channels: int = 16, dropout: float = 0.0) -> nn.Module:
    """Build SegResNet (Myronenko, BrainLes 2018) without its autoencoder, as MONAI has it.

    Args:
        outputs: Number of classes.
        channels: Feature maps of the highest resolution; each halving doubles them, three times.
        dropout: Proportion of feature maps left out in training.
    """
    from monai.networks.nets import SegResNet

    return SegResNet(2, channels, 1, outputs, dropout_prob=dropout or None)


def timm_unet(outputs: int, *, encoder: str = "resnet18", pretrained: bool = False) -> nn.Module:
    """Build the decoder of a U-Net on any timm encoder, as segmentation-models-pytorch has it.

    Args:
        outputs: Number of classes.
        encoder: Name of a timm network that returns feature maps.
        pretrained: Whether the encoder starts from the weights that timm publishes, which are downloaded.

    Raises:
        ConfigError: timm has no such network, or it returns no feature maps.
        WeightsError: The published weights cannot be downloaded.
    """
    import segmentation_models_pytorch as smp

    weights = "imagenet" if pretrained else None
    try:
        return smp.Unet(f"tu-{encoder}", encoder_weights=weights, in_channels=1, classes=outputs)
    except OSError as error:
        raise WeightsError(
            f"model.network.encoder={encoder}: its published weights cannot be downloaded "
            f"({' '.join(str(error).split())[:200]}); set model.network.pretrained=false."
        ) from error
    except Exception as error:  # of many types, where timm has no such name or the network no feature maps
        raise ConfigError(
            f"model.network.encoder={encoder} cannot be the encoder of a U-Net "
            f"({' '.join(str(error).split())[:200]}); give a convolutional network of timm, such as resnet18."
        ) from error


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "attention_unet": attention_unet,
    "unet": unet,
    "segresnet": segresnet,
    "timm_unet": timm_unet,
}


class SegmentationNetwork(nn.Module):
    """Image uint8 (B, 1, H, W) -> logits (B, K, H, W).

    An image whose side is no multiple of the network's own step is extended by its border pixels, and the
    logits are cut to the image again.

    Args:
        network: `name` of one of `NETWORKS` and its settings; or `_target_`, a function of the user's own
            that takes the number of classes and these settings.
        outputs: Number of classes, K.

    Raises:
        ConfigError: The network or a setting is unknown.
    """

    inputs = (keys.IMAGE,)
    mean: Tensor
    std: Tensor
    modality_dropout = 0.0
    STEP = 32  # every network halves the resolution at most five times

    def __init__(self, network: Mapping[str, Any], outputs: int) -> None:
        super().__init__()
        check(network)
        settings = {name: value for name, value in network.items() if name not in ("name", "_target_")}
        target = network.get("_target_")
        build = imported(target, "model.network._target_") if target else NETWORKS[network["name"]]
        self.branches = nn.ModuleDict()  # which other parts of the package look through
        self.layers: nn.Module = call(build, "model.network", outputs, **settings)
        self.register_buffer("mean", torch.tensor(MEAN))
        self.register_buffer("std", torch.tensor(SD))

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the logits of each class at each pixel, (B, K, H, W)."""
        images = batch[keys.IMAGE]
        height, width = images.shape[-2:]
        scaled = (images.float() / 255 - self.mean) / self.std
        bottom, right = -height % self.STEP, -width % self.STEP
        logits: Tensor = self.layers(F.pad(scaled, (0, right, 0, bottom), mode="replicate"))
        return logits[..., :height, :width]

    def at_epoch(self, epoch: int) -> None:
        """Do nothing: all parameters train in every epoch."""

    def depths(self) -> dict[str, int]:
        """Return the same depth for every parameter."""
        return {name: 0 for name, _ in self.named_parameters()}


def check(network: Mapping[str, Any]) -> None:
    """Refuse settings of a network of ours that cannot be built, without building it.

    Raises:
        ConfigError: The name or a setting is unknown, or widths are no list of whole numbers.
    """
    if network.get("_target_"):
        return
    name = network.get("name")
    if name not in NETWORKS:
        refuse([unknown("model.network.name", name, NETWORKS)])
    given = {key: value for key, value in network.items() if key != "name"}
    known = list(inspect.signature(NETWORKS[str(name)]).parameters)[1:]
    faults = [unknown(f"model.network of {name}", key, known) for key in given if key not in known]
    widths = given.get("channels")
    if isinstance(widths, Sequence) and not 2 <= len(widths) <= 6:
        faults.append(f"model.network.channels={list(widths)}: give two to six widths, such as [16, 32, 64].")
    refuse(faults)


def _halving(channels: Sequence[int]) -> list[int]:
    return [2] * (len(channels) - 1)
