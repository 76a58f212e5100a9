"""Small pictures with bright ellipses and their true masks, as a table of the user's own."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

PATIENTS, IMAGES, HEIGHT, WIDTH = 20, 2, 36, 44


def ellipse(rng: np.random.Generator, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Return an ellipse anywhere in the picture, bool (H, W)."""
    y, x = np.mgrid[:height, :width]
    top, left = rng.uniform(0.25, 0.75) * height, rng.uniform(0.25, 0.75) * width
    tall, wide = rng.uniform(0.12, 0.25) * height, rng.uniform(0.12, 0.25) * width
    return ((y - top) / tall) ** 2 + ((x - left) / wide) ** 2 <= 1


def write(folder: Path, patients: int = PATIENTS, images: int = IMAGES, level: int = 1, **columns) -> Path:
    """Write pictures whose ellipse is brighter than the rest, and its masks; return the table."""
    rng, rows = np.random.default_rng(0), []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(patients * images):
        inside = ellipse(rng)
        grey = rng.normal(60, 20, inside.shape) + 100 * inside
        Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.png")
        Image.fromarray(np.uint8(level * inside)).save(folder / f"{number}_mask.png")
        patient = f"P{number // images}"
        rows.append({"image": f"{number}.png", "mask": f"{number}_mask.png", "patient_id": patient})
    pd.DataFrame(rows).assign(**columns).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"
