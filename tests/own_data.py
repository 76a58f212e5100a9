"""A user's own data in the real format of every source: thirty small patients, and how it is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from swe_screen import Screen, draw

from fibrolab.data.formats import video

PATIENTS = 30
STAGES = ("F0", "F1", "F2", "F3", "F4")
LESIONS = ("non_FLL", "cyst", "FFS", "haemangioma", "HCC")


def pictures(folder: Path, column: str = "image") -> pd.DataFrame:
    """Coarse noise, no two alike, of patients whose stages take turns."""
    rows = []
    for i in range(PATIENTS):
        coarse = Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 10), dtype=np.uint8))
        coarse.resize((50, 40), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
        rows.append({column: f"{i}.png", "patient_id": f"p{i}", "label": STAGES[i % 5]})
    return pd.DataFrame(rows)


def table(folder: Path) -> list[str]:
    pictures(folder).to_parquet(folder / "rows.parquet")
    return [f"data.path={folder / 'rows.parquet'}"]


def tree(folder: Path) -> list[str]:
    for name, label in pictures(folder)[["image", "label"]].itertuples(index=False):
        (folder / label).mkdir(exist_ok=True)
        (folder / name).rename(folder / label / name)
    return [f"data.root={folder}"]


def captures(folder: Path) -> list[str]:
    rows = pictures(folder, "capture")
    for i, name in enumerate(rows["capture"]):
        Image.fromarray(draw(Screen(kpa=5 + i % 5 * 5, seed=i)).pixels).save(folder / name)
    rows.to_csv(folder / "captures.csv", index=False)
    return [f"data.path={folder / 'captures.csv'}"]


def films(folder: Path) -> list[str]:
    rows = pictures(folder, "clip")
    for i in range(PATIENTS):
        noise = np.random.default_rng(i).integers(0, 256, (6, 8), dtype=np.uint8)
        frames = [Image.fromarray(np.roll(noise, t, 0)).resize((48, 32)) for t in range(5)]
        video.write(folder / f"{i}.mp4", np.stack([np.asarray(frame) for frame in frames]), fps=10)
    rows.assign(clip=[f"{i}.mp4" for i in range(PATIENTS)]).to_csv(folder / "clips.csv", index=False)
    return [f"data.path={folder / 'clips.csv'}"]


def lesions(folder: Path) -> list[str]:
    rows = pictures(folder).assign(left=4, top=5, width=30, height=24)
    rows["label"] = [LESIONS[i % 5] for i in range(PATIENTS)]
    rows.to_csv(folder / "lesions.csv", index=False)
    return [f"data.path={folder / 'lesions.csv'}", "task=lesion"]


WRITERS: dict[str, Callable[[Path], list[str]]] = {
    "table": table,
    "folder": tree,
    "kaggle_fibrosis": tree,
    "swe_pairs": captures,
    "clips": films,
    "focal_lesions": lesions,
}
PHANTOMS = {
    "phantom": ["data.patients=60", "data.images_per_patient=2", "data.size=64"],
    "phantom_swe": ["data.patients=30", "data.images_per_patient=1", "data.size=240"],
    "phantom_clips": ["data.patients=30", "data.size=64", "data.frames=16"],
    "phantom_lesions": ["data.patients=60", "data.size=128", "task=lesion"],
    "phantom_masks": ["data.patients=60", "data.images_per_patient=1", "data.size=64"],
}


def settings(data: str, folder: Path) -> list[str]:
    """Write what `data=...` reads into a folder; the overrides that name it."""
    folder.mkdir()
    return PHANTOMS[data] if data in PHANTOMS else WRITERS[data](folder)
