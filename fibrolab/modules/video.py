"""Clips."""

from collections.abc import Mapping
from typing import Any

from fibrolab import keys
from fibrolab.errors import ConfigError
from fibrolab.models.branches import INPUT
from fibrolab.modules.base import Classifier


class VideoClassifier(Classifier):
    """Clip (B, 1, T, H, W) -> a branch that sees time -> head -> logits; other branches may stand beside it.

    The arms of paper 5, whose abstract names kinds of networks and no sizes:

    - 2D-CNN on stills: no clip at all, which is `model=single` on the middle frame.
    - 2D-CNN + LSTM: any network of pictures with `frames=lstm`.
    - 3D-CNN: `r3d_18`, `mc3_18` or `r2plus1d_18` with `frames=none`; or any convolutional network of
      pictures with `frames=inflated`, which starts from weights in 2D.

    `frames=average` sees the same pixels as these without their order: what it lacks is what time adds.
    """

    @staticmethod
    def check_branches(branches: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse branches of which none eats clips.

        Raises:
            ConfigError: There is none.
        """
        eaten = {name: settings.get(INPUT, keys.IMAGE) for name, settings in branches.items()}
        if keys.CLIP not in eaten.values():
            listed = ", ".join(f"{name} eats {given}" for name, given in eaten.items()) or "there is none"
            raise ConfigError(
                f"model=video needs a branch with {INPUT}={keys.CLIP} in model.branches ({listed}); "
                "use model=single or model=multimodal for pictures."
            )
