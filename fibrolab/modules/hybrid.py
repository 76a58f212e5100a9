"""Late fusion of two or more backbones."""

from collections.abc import Mapping
from typing import Any

from fibrolab.errors import ConfigError
from fibrolab.modules.base import Classifier


class HybridClassifier(Classifier):
    """Image (B, 1, H, W) -> each backbone (B, F_i) -> fusion -> head -> logits (B, K).

    With its default config the network of paper 1 (iLIVER 5(1), 100225, 2026): ResNet50 pooled to 2048
    and VGG16's second dense layer of 4096 values join to 6144 -> 1024 -> 512 -> 5.
    """

    @staticmethod
    def check_branches(branches: Mapping[str, Mapping[str, Any]]) -> None:
        """Two branches or more, on whatever inputs.

        Raises:
            ConfigError: There are fewer.
        """
        if len(branches) < 2:
            raise ConfigError(
                f"model=hybrid joins two or more backbones, model.branches holds {len(branches)}; "
                "use model=single for one."
            )
