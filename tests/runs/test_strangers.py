"""Strangers to networks on films and on several modalities: photographs and noise are unlike training."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from compose import composed, prepared, run_folder
from drawn import unrendered
from PIL import Image
from scipy import ndimage
from skimage import data as photographs

from fibrolab import keys
from fibrolab.data.formats import video
from fibrolab.pipeline import run
from fibrolab.runs import answering, new_input, open_run, sample_answers

SMALL = ["preprocess.size=32", "trainer.max_epochs=1", "num_workers=0", "bootstrap.resamples=20",
         "trainer.accelerator=cpu", "split.val=0.4"]  # fmt: skip
PATIENTS, FRAMES, SIDES = 120, 5, (40, 48)
FAMILIES = {
    "films": ["model=video", "data=clips", "segment.length=4"],
    "several": ["model=multimodal", "data=table", "+clinical@model.branches.clinical=lsm"],
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def speckle(seed: int) -> np.ndarray:
    """Return dark, coarse speckle, as of a liver, uint8 (H, W)."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.rayleigh(size=SIDES), 1.5)
    return np.asarray((smooth / smooth.mean() * 45).clip(0, 255), np.uint8)


def strangers() -> dict[str, np.ndarray]:
    """Return photographs and white noise in the size of the pictures, uint8 (H, W)."""
    found = {"noise": np.random.default_rng(0).integers(0, 256, SIDES, np.uint8)}
    for name in ("camera", "astronaut", "coffee", "chelsea"):
        photograph = Image.fromarray(getattr(photographs, name)()).convert("L")
        found[name] = np.asarray(photograph.resize(SIDES[::-1]))
    return found


def written(folder: Path, family: str, pictures: dict[str, np.ndarray]) -> pd.DataFrame:
    """Write samples with these pictures in the modalities of a family; return their table."""
    rows = []
    for number, (name, grey) in enumerate(pictures.items()):
        row: dict[str, object] = {"patient_id": name, "label": f"F{number % 5}"}
        if family == "films":
            shifts = [np.roll(grey, shift, axis=0) for shift in range(FRAMES)]
            video.write(folder / f"{name}.mp4", np.stack(shifts), fps=10)
            row["clip"] = f"{name}.mp4"
        else:
            Image.fromarray(grey).save(folder / f"{name}.png")
            row["image"] = f"{name}.png"
        if family == "several":
            colours = np.stack([grey, speckle(number), 255 - grey], axis=-1)
            Image.fromarray(colours).save(folder / f"{name}_swe.png")
            row |= {"elastogram": f"{name}_swe.png", "lsm_kpa": 5 + number % 7}
        rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_strangers_are_told_by_networks_of_every_family(
    family: str, tmp_path: Path, fresh_database: Path, cache: Path
) -> None:
    root, folder = prepared(tmp_path, fresh_database, cache), tmp_path / "files"
    folder.mkdir()
    table = written(folder, family, {f"p{i}": speckle(i) for i in range(PATIENTS)})
    table.to_csv(folder / "own.csv", index=False)
    with unrendered():
        run(composed(f"paths.root={root}", *SMALL, *FAMILIES[family], f"data.path={folder / 'own.csv'}"))
    trained = open_run(run_folder(root))
    new = strangers() | {f"q{i}": speckle(PATIENTS + i) for i in range(20)}
    written(folder, family, new).drop(columns="label").to_csv(folder / "new.csv", index=False)
    network = trained.predictors[0]
    manifest = new_input.listed([folder / "new.csv"], network.record, network.module.inputs)
    rules = answering.rules(trained, 0.1)[answering.SAMPLE]
    found = sample_answers.of(manifest, trained, rules, nearest=True).set_index(keys.PATIENT_ID)
    assert (found["error"] == "").all()
    assert network.reference is not None
    assert network.reference.features.size  # features tell, not only the pixels
    assert network.cases is not None
    shown = network.cases.shown(found["nearest_case_1"].tolist())
    assert all(content for _, content in shown.values())  # a picture of each, of a film its middle frame
    assert found.loc[list(strangers()), "unlike_training"].all()
    assert found.loc[[f"q{i}" for i in range(20)], "unlike_training"].mean() <= 0.25  # 0.05 on average
