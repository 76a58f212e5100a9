"""One backbone and a head."""

from typing import Any

from torch import nn

from fibrolab.errors import ConfigError
from fibrolab.models.fusion import LateFusion
from fibrolab.modules.base import Classifier


class SingleClassifier(Classifier):
    """Image (B, 1, H, W) -> one backbone -> head -> logits (B, K)."""

    def build_network(
        self, branches: dict[str, dict[str, Any]], head: dict[str, Any], image_size: int
    ) -> nn.Module:
        """A fusion of one."""
        if len(branches) != 1:
            raise ConfigError(
                f"model=single has one backbone, model.branches holds {len(branches)} "
                f"({', '.join(branches)}); use model=hybrid for more."
            )
        return LateFusion(branches, head, len(self.classes), image_size)
