"""A 2D network over the frames of a clip: averaged, read by an LSTM, or inflated through time."""

import inspect
from typing import Any

from torch import Tensor, nn

from fibrolab.choices import refuse, unknown
from fibrolab.models.backbones import Backbone
from fibrolab.models.side_taps import add_side_taps, side_taps


class OverFrames(nn.Module):
    """Base class of the models over frames: an image network that runs on every frame of a clip.

    Args:
        backbone: The network of pictures.

    Attributes:
        backbone: As given.
        num_features: Length of the feature vector, F.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_features: int = backbone.num_features

    def each_frame(self, clips: Tensor) -> Tensor:
        """Return features (B, T, F) of the frames of clips (B, 1 or 3, T, H, W), uint8 or float in 0..255."""
        frames = clips.transpose(1, 2).flatten(0, 1)  # (B, C, T, H, W) -> (B*T, C, H, W)
        features: Tensor = self.backbone(frames)
        return features.unflatten(0, (-1, clips.shape[2]))  # (B*T, F) -> (B, T, F)

    @property
    def frozen(self) -> bool:
        """Return whether no part of it ever trains."""
        return self.backbone.frozen

    def depths(self) -> dict[str, int]:
        """Depth of every parameter in the network of pictures, from 0 at the input."""
        return {f"backbone.{name}": depth for name, depth in self.backbone.depths().items()}

    def at_epoch(self, epoch: int) -> None:
        """Let train what trains in this epoch."""
        self.backbone.at_epoch(epoch)


class Average(OverFrames):
    """Features of each frame, averaged over the clip: what it shows, in whatever order."""

    def forward(self, clips: Tensor) -> Tensor:
        """Feature vectors (B, F) of clips (B, 1 or 3, T, H, W) of any length T."""
        return self.each_frame(clips).mean(1)


class LongShortTerm(OverFrames):
    """An LSTM reads the features frame by frame; its last state stands for the clip.

    Paper 5 names a 2D-CNN + LSTM without its sizes; these are ours.

    Args:
        backbone: A network of pictures.
        units: Length of the state.
        layers: LSTMs on top of each other.
        bidirectional: Read the clip backwards too; both last states are joined.

    Raises:
        ConfigError: A size is below 1.

    Source:
        Hochreiter & Schmidhuber, Neural Computation 9(8), 1997; over a 2D network: Donahue et al., CVPR 2015.
    """

    def __init__(
        self, backbone: Backbone, units: int = 256, layers: int = 1, bidirectional: bool = False
    ) -> None:
        super().__init__(backbone)
        refuse(_size_faults(units=units, layers=layers))
        self.lstm = nn.LSTM(
            backbone.num_features, units, layers, batch_first=True, bidirectional=bidirectional
        )
        self.num_features = units * (2 if bidirectional else 1)

    def forward(self, clips: Tensor) -> Tensor:
        """Feature vectors (B, F) of clips (B, 1 or 3, T, H, W) of any length T."""
        _, (state, _) = self.lstm(self.each_frame(clips))  # (layers * directions, B, units)
        directions = state[-2:] if self.lstm.bidirectional else state[-1:]
        return directions.transpose(0, 1).flatten(1)  # (directions, B, units) -> (B, directions * units)

    @property
    def frozen(self) -> bool:
        """Never: the LSTM trains."""
        return False

    def depths(self) -> dict[str, int]:
        """Depth of every parameter; the LSTM is one deeper than the 2D network."""
        below = super().depths()
        depth = 1 + max(below.values(), default=-1)
        return below | {f"lstm.{name}": depth for name, _ in self.lstm.named_parameters()}


class Inflated(Average):
    """The network of pictures turned into a 3D one: its convolutions see the frames before and after.

    See `fibrolab.models.side_taps.add_side_taps`. Before training it is exactly `Average`. A convolution
    costs three times as much. VGG16 with its native pooling has a dense layer of 7 x 7, which would grow by
    205 million weights: give it `pooling: avg`.

    Args:
        backbone: A convolutional network, some of which trains; changed in place.

    Raises:
        ConfigError: The network has no convolution to inflate, or none that ever trains.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.convs = add_side_taps(backbone)  # a plain list: they are modules of the backbone

    def each_frame(self, clips: Tensor) -> Tensor:
        """Return features (B, T, F) of frames of clips (B, 1 or 3, T, H, W), each with its neighbours."""
        for conv in self.convs:
            side_taps(conv).length = clips.shape[2]
        return super().each_frame(clips)


FRAMES: dict[str, type[OverFrames]] = {"average": Average, "lstm": LongShortTerm, "inflated": Inflated}


def over_frames(backbone: Backbone, name: str, **settings: Any) -> OverFrames:
    """Build a branch for clips (B, 1, T, H, W) from an image network.

    Args:
        backbone: The network of pictures.
        name: One of `FRAMES`.
        settings: Its arguments.

    Raises:
        ConfigError: The name or a setting is unknown, out of range, or nothing for this backbone.
    """
    if name not in FRAMES:
        refuse([unknown("frames", name, FRAMES)])
    known = [setting for setting in inspect.signature(FRAMES[name]).parameters if setting != "backbone"]
    if not known and settings:
        refuse([f"frames={name} has no settings; {', '.join(settings)} was given."])
    refuse([unknown(f"frames={name}", setting, known) for setting in settings if setting not in known])
    return FRAMES[name](backbone, **settings)


def _size_faults(**sizes: int) -> list[str]:
    return [
        f"frames.{name}: {size} is no size. Give a whole number, 1 or more."
        for name, size in sizes.items()
        if not isinstance(size, int) or size < 1
    ]
