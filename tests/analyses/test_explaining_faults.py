"""Runs that cannot be explained and true masks without their class are refused, each in a sentence."""

import json
from pathlib import Path
from types import SimpleNamespace

import fake_run
import numpy as np
import pandas as pd
import pytest
import yaml
from compose import composed
from PIL import Image

from fibrolab import keys
from fibrolab.analyses.explaining import explain
from fibrolab.analyses.pseudo_masking import _TrueMasks
from fibrolab.data.manifest import Manifest
from fibrolab.errors import ConfigError, DataError
from fibrolab.evaluation import predictions
from fibrolab.tracking import track


def left(root: Path, without: str) -> str:
    """Leave a finished run without a network, in one of four ways, and return its id."""
    place = {"uri": f"sqlite:///{root}/mlruns/mlflow.db", "artifacts": str(root / "mlruns/artifacts")}
    with track(**place, experiment="test", name="run", tags={}) as run:
        fake_run.make(run.folder, n=20)
        settings = fake_run.config(fake_run.CLASSES)
        settings["task"] |= {"ordered": True, "endpoints": {}}
        if without == "model":  # as a stack has none
            del settings["model"]
        (run.folder / keys.CONFIG_FILE).write_text(yaml.safe_dump(settings))
        frame = fake_run.split(predictions.read(run.folder / keys.PREDICTIONS_FILE))
        frame.drop(columns=[keys.PARTITION, keys.FOLD]).to_csv(run.folder / keys.MANIFEST_FILE, index=False)
        known = fake_run.environment() | {"format": keys.FORMAT}
        (run.folder / keys.ENVIRONMENT_FILE).write_text(json.dumps(known))
        if without == "classes":
            (run.folder / keys.PREDICTIONS_FILE).unlink()
            (run.folder / keys.MASK_MEASURES_FILE).write_text("")
        if without == "training":  # as a comparison and a study have none
            for path in run.folder.iterdir():
                path.unlink()
    return run.id


@pytest.mark.parametrize(
    ("without", "own", "new"),
    [
        ("model", "has no network of its own; name one of", "has no network of its own; name one of"),
        ("checkpoint", "kept no network .*a fast dev run keeps none", "kept no network"),
        ("classes", "segments images, and this needs a run that classifies", "segments images: its masks"),
        ("training", "left no split.csv: give ids that", "left no split.csv: give ids that"),
    ],
)
def test_a_run_without_a_network_is_refused(root: Path, without: str, own: str, new: str) -> None:
    run_id = left(root, without)
    Image.new("L", (8, 8), 1).save(picture := root / "picture.png")
    words = [f"paths.root={root}", f"run={run_id}", f"folder={root / 'new'}"]
    for more, sentence in (([], own), ([f"input={picture}"], new)):
        with pytest.raises(ConfigError, match=sentence):
            explain(composed(*words, *more, name="explain"))


def true_masks(folder: Path, level: int, levels: list[int] | None) -> _TrueMasks:
    """Write two pictures and their true masks, which have one level above 0 in a corner."""
    labels = np.zeros((8, 8), np.uint8)
    labels[:2, :3] = level
    for name in ("a", "b"):
        Image.new("L", (8, 8), 1).save(folder / f"{name}.png")
        Image.fromarray(labels).save(folder / f"{name}_mask.png")
    rows = {
        keys.SAMPLE_ID: ["a", "b"],
        keys.IMAGE: ["a.png", "b.png"],
        keys.MASK: ["a_mask.png", "b_mask.png"],
    }
    manifest = Manifest(pd.DataFrame(rows), (), "pictures", folder)
    return _TrueMasks(SimpleNamespace(manifest=manifest), levels)


def test_true_masks_without_the_class_are_refused_and_255_may_be_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"grey level 255, which means without a label.*true_levels=\[255\]"):
        true_masks(tmp_path, 255, None).refuse_without_foreground()
    with pytest.raises(DataError, match=r"No mask has a pixel of foreground: all are background\.$"):
        true_masks(tmp_path, 4, [2, 3]).refuse_without_foreground()
    true_masks(tmp_path, 0, None).refuse_without_foreground()  # the maps are masks nevertheless
    named = true_masks(tmp_path, 255, [255])
    named.refuse_without_foreground()
    assert (named.classes(1) == 1).sum() == 6
    assert (named.classes(1) == 0).sum() == 58
