"""Late fusion of what was measured in different ways: grey image, elastogram, clip, clinical values."""

from collections.abc import Mapping
from typing import Any

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.models.branches import INPUT
from fibrolab.modules.base import Classifier


class MultimodalClassifier(Classifier):
    """Each input of a sample -> a branch of its own (B, F_i) -> fusion -> head -> logits (B, K).

    With Inception-V3 on the grey image and on the elastogram the GM + EM network of paper 4 (Eur Radiol 30,
    2973-2983, 2020): 2048 + 2048 -> 4096 -> three dense layers. A sample may lack an input.
    """

    @staticmethod
    def check_branches(branches: Mapping[str, Mapping[str, Any]]) -> None:
        """Two different inputs or more.

        Raises:
            ConfigError: All branches eat the same, or there is none.
        """
        inputs = dict.fromkeys(settings.get(INPUT, keys.IMAGE) for settings in branches.values())
        if len(inputs) < 2:
            raise ConfigError(
                "model=multimodal joins two or more different inputs, model.branches eat "
                f"{', '.join(inputs) or 'nothing'}; give a branch another {INPUT}, or use model=hybrid."
            )
