"""Twelve samples on disk whose modalities a test chooses, and the datamodule over them."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from fibrolab import keys
from fibrolab.data.cache import PixelStore
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.formats import video
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.splits import Split
from fibrolab.loading import surveyed

SAMPLES, SIDE, FRAMES = 12, 32, 5
PARTITIONS = np.repeat([keys.TRAIN, keys.VALIDATION, keys.TEST], [6, 3, 3])
EVERYONE = range(SAMPLES)


def clinic(
    folder: Path,
    elastograms: Collection[int] = (),
    clips: Collection[int] = (),
    **columns: Any,
) -> LabelledData:
    """A picture of every sample, an elastogram and a clip of those named; two classes that take turns."""
    table = pd.DataFrame({keys.SAMPLE_ID: [f"s{i}" for i in EVERYONE], keys.LABEL: np.arange(SAMPLES) % 2})
    for i in EVERYONE:
        noise = np.random.default_rng(i).integers(1, 256, (3 + FRAMES, SIDE, SIDE), dtype=np.uint8)
        Image.fromarray(noise[0]).save(folder / f"{i}.png")
        if i in elastograms:
            Image.fromarray(np.moveaxis(noise[:3], 0, -1)).save(folder / f"{i}_swe.png")
        if i in clips:
            video.write(folder / f"{i}.avi", noise[3:], fps=8)
    table[keys.IMAGE] = [f"{i}.png" for i in EVERYONE]
    table[keys.ELASTOGRAM] = [f"{i}_swe.png" if i in elastograms else "" for i in EVERYONE]
    table[keys.CLIP] = [f"{i}.avi" if i in clips else "" for i in EVERYONE]
    manifest = Manifest(table.assign(**columns), ("mild", "severe"), "clinic", folder)
    manifest, facts = surveyed(manifest, folder / "cache", "error")
    return LabelledData(manifest, facts, manifest.labels, list(manifest.classes), Split(PARTITIONS, 0, 0))


def datamodule(data: LabelledData, *inputs: str, **settings: Any) -> FibrosisDataModule:
    """The datamodule of a model that takes these modalities, loading in this process."""
    grey = Preprocess(size=SIDE)
    stores = {
        name: PixelStore(
            data.manifest.root / "pixels", grey.of_colours() if name == keys.ELASTOGRAM else grey
        )
        for name in inputs
    }
    defaults: dict[str, Any] = {"batch_size": 4, "num_workers": 0, "segment": Segment("uniform", 3)}
    return FibrosisDataModule(data=data, stores=stores, **(defaults | settings))
