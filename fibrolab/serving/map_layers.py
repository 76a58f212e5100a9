"""The maps of one sample as transparent layers over its pictures, for a page that sets their opacity."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from fibrolab.analyses import sample_maps
from fibrolab.data.manifest import Manifest
from fibrolab.explanation import overlays
from fibrolab.runs.trained_run import TrainedRun

SIDE = 1024  # largest side of a picture that is sent [px]
QUALITY = 85  # of WebP


def of_sample(manifest: Manifest, run: TrainedRun) -> dict[str, Any]:
    """Explain the most probable class of one sample (`sample_maps.of_sample`).

    Args:
        manifest: The sample.
        run: A run that classifies.

    Returns:
        Method, what it shows, and the explained class; and for each branch with a map its name and title, the
        picture and the layer as `data:` addresses.

    Raises:
        DataError: The file cannot be read, or the sample lacks an input that every training sample had.
        ConfigError: The network takes no picture.
    """
    found = sample_maps.of_sample(manifest, run)
    branches = [
        {
            "branch": each.branch,
            "title": each.title,
            "picture": address(each.picture),
            "layer": _layer(each.heat, found.method.signed),
        }
        for each in found.branches
    ]
    method = {"method": found.method.label, "shows": found.method.shows}
    return {**method, "target": found.target, "branches": branches}


def address(pixels: np.ndarray) -> str:
    """Return a picture, uint8 (H, W) or (H, W, 3), as an address `data:`, not larger than `SIDE`."""
    image = Image.fromarray(pixels).convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return _encoded(image, "webp", quality=QUALITY)


def _layer(heat: np.ndarray, signed: bool) -> str:
    """Return a map (H, W) as colours whose opacity is its strength, with nothing where there is no value."""
    scale = overlays.scale([heat], signed)
    strength = (255 * scale.strength(heat)).round().astype(np.uint8)
    image = Image.fromarray(np.dstack([scale.coloured(heat), strength]), "RGBA")
    image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    return _encoded(image, "png")


def _encoded(image: Image.Image, kind: str, **settings: Any) -> str:
    content = io.BytesIO()
    image.save(content, format=kind, **settings)
    return encoded(content.getvalue(), kind)


def encoded(content: bytes, kind: str) -> str:
    """Return a picture in a format, such as `webp`, as an address `data:`."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
