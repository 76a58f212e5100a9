"""The four models that a user names, which differ in the branches that they accept."""

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
            ConfigError: There are more, or none.
        """
        if len(branches) != 1:
            raise ConfigError(
                f"model=single has one backbone, model.branches holds {len(branches)} "
                f"({', '.join(branches)}); use model=hybrid for more."
            )


class HybridClassifier(Classifier):
    """Image (B, 1, H, W) -> each backbone (B, F_i) -> fusion -> head -> logits (B, K).

    With its default config the network of paper 1 (iLIVER 5(1), 100225, 2026): ResNet50 pooled to 2048
    and VGG16's second dense layer of 4096 values join to 6144 -> 1024 -> 512 -> 5.
    """

    @staticmethod
    def check_branches(branches: Branches) -> None:
        """Require two branches or more, on any inputs.

        Raises:
            ConfigError: There are fewer.
        """
        if len(branches) < 2:
            raise ConfigError(
                f"model=hybrid joins two or more backbones, model.branches holds {len(branches)}; "
                "use model=single for one."
            )


class MultimodalClassifier(Classifier):
    """Each input of a sample -> its own branch (B, F_i) -> fusion -> head -> logits (B, K).

    The inputs are grey image, elastogram, clip or clinical values; a sample may lack some of them. With
    Inception-V3 on the grey image and on the elastogram the GM + EM network of paper 4 (Eur Radiol 30,
    2973-2983, 2020): 2048 + 2048 -> 4096 -> three dense layers.
    """

    @staticmethod
    def check_branches(branches: Branches) -> None:
        """Require two different inputs or more.

        Raises:
            ConfigError: All branches take the same input, or there is no branch.
        """
        inputs = dict.fromkeys(settings.get(INPUT, keys.IMAGE) for settings in branches.values())
        if len(inputs) < 2:
            raise ConfigError(
                "model=multimodal joins two or more different inputs, model.branches take "
                f"{', '.join(inputs) or 'nothing'}; give a branch another {INPUT}, or use model=hybrid."
            )


class VideoClassifier(Classifier):
    """Clip (B, 1, T, H, W) -> a branch for clips -> head -> logits (B, K); other branches may be added.

    The arms of paper 5, whose abstract names kinds of networks and no sizes:

    - 2D-CNN on stills: no clip at all, which is `model=single` on the middle frame.
    - 2D-CNN + LSTM: any network for images with `frames=lstm`.
    - 3D-CNN: `r3d_18`, `mc3_18` or `r2plus1d_18` with `frames=none`; or any convolutional network for
      images with `frames=inflated`, which starts from weights in 2D.

    `frames=average` sees the same pixels as these without their order: the difference is what time adds.
    """

    @staticmethod
    def check_branches(branches: Branches) -> None:
        """Require a branch that takes clips.

        Raises:
            ConfigError: There is none.
        """
        inputs = {name: settings.get(INPUT, keys.IMAGE) for name, settings in branches.items()}
        if keys.CLIP not in inputs.values():
            listed = ", ".join(f"{name} takes {given}" for name, given in inputs.items()) or "there is none"
            raise ConfigError(
                f"model=video needs a branch with {INPUT}={keys.CLIP} in model.branches ({listed}); "
                "use model=single or model=multimodal for images."
            )
