"""Late fusion: two or more backbones see one image, their features are concatenated."""

from typing import Any

from torch import nn

from fibrolab.errors import ConfigError
from fibrolab.models.fusion import LateFusion
from fibrolab.modules.base import Classifier


class HybridClassifier(Classifier):
    """Image (B, 1, H, W) -> each backbone -> concatenation -> head -> logits (B, K).

    With its default config the network of paper 1 (iLIVER 5(1), 100225, 2026): ResNet50 pooled to 2048
    and VGG16's second dense layer of 4096 values join to 6144 -> 1024 -> 512 -> 5.
    """

    def build_network(
        self, branches: dict[str, dict[str, Any]], head: dict[str, Any], image_size: int
    ) -> nn.Module:
        """One branch a backbone."""
        if len(branches) < 2:
            raise ConfigError(
                f"model=hybrid joins two or more backbones, model.branches holds {len(branches)}; "
                "use model=single for one."
            )
        return LateFusion(branches, head, len(self.classes), image_size)
