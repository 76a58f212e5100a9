"""Late fusions of very small networks, and batches for them."""

from typing import Any

import torch
from torch import Tensor

from fibrolab import keys
from fibrolab.models.fusion import LateFusion

TINY = {"name": "test_resnet"}
OTHER = {"name": "test_convnext"}
TWO_INPUTS = {"grey": TINY, "stiffness": {**TINY, "input": "elastogram"}}
THREE_INPUTS = {**TWO_INPUTS, "table": {"input": "clinical", "columns": ["lsm_kpa"]}}
LSM = {"columns": ["lsm_kpa"], "mean": [2.0], "sd": [0.7]}
SECOND_LACKS = torch.tensor([True, False, True, True])


def images(n: int = 2, size: int = 32) -> Tensor:
    """Return grey noise, one byte per pixel."""
    return torch.randint(0, 256, (n, 1, size, size), dtype=torch.uint8)


def pairs(present: Tensor | None = None, n: int = 4) -> dict[str, Tensor]:
    """Return grey images and elastograms; the latter may be missing for some samples."""
    batch = {"image": images(n), "elastogram": images(n).repeat(1, 3, 1, 1)}
    return batch if present is None else batch | {keys.present("elastogram"): present}


def build(
    branches: dict[str, Any], head: dict[str, Any] | None = None, num_classes: int = 5, **others: Any
) -> LateFusion:
    """A fusion for pictures of 32 pixels, and for a stiffness."""
    return LateFusion(branches, head or {}, num_classes, image_size=32, clinical=LSM, **others)
