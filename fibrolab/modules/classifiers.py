"""The four models that a user can choose; they differ in the branches that they accept."""

from collections.abc import Mapping
from typing import Any

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.models.branches import INPUT
from fibrolab.modules.base import Classifier

Branches = Mapping[str, Mapping[str, Any]]


class SingleClassifier(Classifier):
    """Image (B, 1, H, W) -> one backbone (B, F) -> head -> logits (B, K)."""

    @staticmethod
    def check_branches(branches: Branches) -> None:
        """Require exactly one branch.

        Raises:
            ConfigError: There are several branches, or none.
        """
        if len(branches) != 1:
            raise ConfigError(
                f"model=single has one backbone, but model.branches holds {len(branches)} "
                f"({', '.join(branches)}); use model=hybrid for more."
            )


class HybridClassifier(Classifier):
    """Image (B, 1, H, W) -> each backbone (B, F_i) -> fusion -> head -> logits (B, K).

    The default config is the network of paper 1 (iLIVER 5(1), 100225, 2026): 2048 pooled features of ResNet50
    and 4096 of VGG16's second dense layer are concatenated to 6144 -> 1024 -> 512 -> 5.
    """

    @staticmethod
    def check_branches(branches: Branches) -> None:
        """Require at least two branches, on any inputs.

        Raises:
            ConfigError: There are fewer than two.
        """
        if len(branches) < 2:
            raise ConfigError(
                f"model=hybrid needs two or more backbones, but model.branches holds {len(branches)}; "
                "use model=single for one."
            )


class MultimodalClassifier(Classifier):
    """Each input of a sample -> its own branch (B, F_i) -> fusion -> head -> logits (B, K).

    The inputs are grey image, elastogram, clip or clinical values; a sample may lack some of them. With
    Inception-V3 on grey image and elastogram it is the GM + EM network of paper 4 (Eur Radiol 30, 2973-2983,
    2020): 2048 + 2048 -> 4096 -> three dense layers.
    """

    @staticmethod
    def check_branches(branches: Branches) -> None:
        """Require at least two different inputs.

        Raises:
            ConfigError: All branches take the same input, or there is no branch.
        """
        inputs = dict.fromkeys(settings.get(INPUT, keys.IMAGE) for settings in branches.values())
        if len(inputs) < 2:
            raise ConfigError(
                "model=multimodal needs two or more different inputs, but model.branches take "
                f"{', '.join(inputs) or 'nothing'}; give a branch another {INPUT}, or use model=hybrid."
            )


class VideoClassifier(Classifier):
    """Clip (B, 1, T, H, W) -> a branch for clips -> head -> logits (B, K); other branches may be added.

    The arms of paper 5, whose abstract names the kinds of networks but not their sizes:

    - 2D-CNN on still images: `model=single` on the middle frame, without a clip.
    - 2D-CNN + LSTM: any image network with `frames=lstm`.
    - 3D-CNN: `r3d_18`, `mc3_18` or `r2plus1d_18` with `frames=none`; or any convolutional image network with
      `frames=inflated`, which starts from 2D weights.

    `frames=average` uses the same frames without their order; the difference to it measures the value of
    temporal information.
    """

    @staticmethod
    def check_branches(branches: Branches) -> None:
        """Require a branch that takes clips.

        Raises:
            ConfigError: No branch takes clips.
        """
        inputs = {name: settings.get(INPUT, keys.IMAGE) for name, settings in branches.items()}
        if keys.CLIP not in inputs.values():
            listed = (
                ", ".join(f"{name} takes {given}" for name, given in inputs.items()) or "there is no branch"
            )
            raise ConfigError(
                f"model=video needs a branch with {INPUT}={keys.CLIP} in model.branches ({listed}); "
                "use model=single or model=multimodal for images."
            )
