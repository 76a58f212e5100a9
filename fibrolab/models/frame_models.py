"""Image networks applied to the frames of a clip: averaged, read by an LSTM, or inflated to 3D."""

import inspect
from typing import Any

from torch import Tensor, nn

from fibrolab.choices import refuse, unknown
from fibrolab.models.backbones import Backbone
from fibrolab.models.side_taps import add_side_taps, side_taps


class OverFrames(nn.Module):
    """Base class of clip models that run an image network on every frame.

    Args:
        backbone: The image network.

    Attributes:
        backbone: The image network.
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
        """Return whether no parameter ever trains."""
        return self.backbone.frozen

    def depths(self) -> dict[str, int]:
        """Return the depth of every parameter of the image network, 0 at the input."""
        return {f"backbone.{name}": depth for name, depth in self.backbone.depths().items()}

    def at_epoch(self, epoch: int) -> None:
        """Unfreeze the stages scheduled for this epoch and freeze all others."""
        self.backbone.at_epoch(epoch)


class Average(OverFrames):
    """Average of the features over the frames; independent of their order."""

    def forward(self, clips: Tensor) -> Tensor:
        """Return feature vectors (B, F) of clips (B, 1 or 3, T, H, W) of any length T."""
        return self.each_frame(clips).mean(1)


class FrameLSTM(OverFrames):
    """An LSTM over the frames' features; its last state is the feature vector of the clip.

    Paper 5 names a 2D-CNN + LSTM without its sizes; the default sizes are our choice.

    Args:
        backbone: The image network.
        units: Length of the state.
        layers: Number of stacked LSTM layers.
        bidirectional: Read the clip backwards too; both last states are concatenated.

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
        """Return feature vectors (B, F) of clips (B, 1 or 3, T, H, W) of any length T."""
        _, (state, _) = self.lstm(self.each_frame(clips))  # (layers * directions, B, units)
        directions = state[-2:] if self.lstm.bidirectional else state[-1:]
        return directions.transpose(0, 1).flatten(1)  # (directions, B, units) -> (B, directions * units)

    @property
    def frozen(self) -> bool:
        """Return False: the LSTM always trains."""
        return False

    def depths(self) -> dict[str, int]:
        """Return the depth of every parameter; the LSTM is one deeper than the image network."""
        below = super().depths()
        depth = 1 + max(below.values(), default=-1)
        return below | {f"lstm.{name}": depth for name, _ in self.lstm.named_parameters()}


class Inflated(Average):
    """The image network inflated to 3D: its convolutions also read the previous and the next frame.

    See `fibrolab.models.side_taps.add_side_taps`. Before training, its output equals that of `Average`. A
    convolution costs three times as much. VGG16 with its native pooling has a dense layer of 7 x 7, which
    would grow by 205 million weights: give it `pooling: avg`.

    Args:
        backbone: A convolutional network with at least one convolution that trains; changed in place.

    Raises:
        ConfigError: The network has no convolution to inflate, or none that ever trains.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        _ = backbone.map_sizes  # now: with side taps, the backbone takes whole clips only
        self.convs = add_side_taps(backbone)  # a plain list: the backbone registers them already

    def each_frame(self, clips: Tensor) -> Tensor:
        """Return features (B, T, F) of clips (B, 1 or 3, T, H, W), each from a frame and its neighbours."""
        for conv in self.convs:
            side_taps(conv).length = clips.shape[2]
        return super().each_frame(clips)


FRAMES: dict[str, type[OverFrames]] = {"average": Average, "lstm": FrameLSTM, "inflated": Inflated}


def over_frames(backbone: Backbone, name: str, **settings: Any) -> OverFrames:
    """Build a branch for clips (B, 1, T, H, W) from an image network.

    Args:
        backbone: The image network.
        name: One of `FRAMES`.
        settings: Arguments of that class.

    Raises:
        ConfigError: The name or a setting is unknown, a setting is out of range, or the backbone does not
            fit.
    """
    refuse(faults(name, **settings))
    return FRAMES[name](backbone, **settings)


def faults(name: str, **settings: Any) -> list[str]:
    """Return a sentence on each unknown name or setting of `over_frames`."""
    if name not in FRAMES:
        return [unknown("frames", name, FRAMES)]
    known = [setting for setting in inspect.signature(FRAMES[name]).parameters if setting != "backbone"]
    if not known and settings:
        return [f"frames={name} has no settings; {', '.join(settings)} was given."]
    return [unknown(f"frames={name}", setting, known) for setting in settings if setting not in known]


def _size_faults(**sizes: int) -> list[str]:
    return [
        f"frames.{name}: {size} is not a size. Give a whole number, 1 or more."
        for name, size in sizes.items()
        if not isinstance(size, int) or size < 1
    ]
