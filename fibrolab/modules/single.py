"""One branch and a head."""

from collections.abc import Mapping
from typing import Any

from fibrolab.errors import ConfigError
from fibrolab.modules.base import Classifier


class SingleClassifier(Classifier):
    """Image (B, 1, H, W) -> one backbone (B, F) -> head -> logits (B, K)."""

    @staticmethod
    def check_branches(branches: Mapping[str, Mapping[str, Any]]) -> None:
        """One branch.

        Raises:
            ConfigError: There are more, or none.
        """
        if len(branches) != 1:
            raise ConfigError(
                f"model=single has one backbone, model.branches holds {len(branches)} "
                f"({', '.join(branches)}); use model=hybrid for more."
            )
