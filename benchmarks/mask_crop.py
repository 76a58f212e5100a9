"""A planted shortcut outside the sector: accuracy with and without it, before and after the crop to masks.

    python -m benchmarks.mask_crop
    python -m benchmarks.mask_crop --patients 60 --epochs 1      # quicker

The text that the scanner burns into the training pictures reveals the stage of every patient. Three
classifiers are trained on the same patients: on whole pictures, on pictures cropped to the true masks of the
sector, and on pictures cropped to the masks of a segmenter, which was trained on the same split and is in the
checkpoint. Each is tested on the same test patients twice: with pictures whose text reveals the stage, and
with pictures whose text is drawn at random and that have no mask, except for the second classifier. The
tissue is the same in both. Intervals resample patients, 2,000 times, with the same draws everywhere.
"""

import argparse
import logging
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir

from fibrolab import keys, pipeline
from fibrolab.analyses import external, segmented_data
from fibrolab.config import VERSION_BASE, folder
from fibrolab.evaluation import predictions
from fibrolab.evaluation.intervals.bootstrap import resample_weights
from fibrolab.phantom.source import load_masks
from fibrolab.runs import open_run
from fibrolab.runs.checkpoint import Predictor

RESAMPLES, LEVEL = 2000, (0.025, 0.975)
SECTOR = "[1,2,3,4]"  # grey levels of the phantom's masks: all but the screen and its text


class Tested(NamedTuple):
    """Right predictions (1, else 0) of the test samples, (N,), by the text in their pictures."""

    revealing: np.ndarray
    random: np.ndarray


class Clinic(NamedTuple):
    """A data set with a planted shortcut, and the runs on it in a folder."""

    root: Path
    data: Sequence[str]
    patients: int
    size: int

    def train(self, *words: str) -> pipeline.Trained:
        """Train one run without its output."""
        given = [f"paths.root={self.root}", "callbacks.early_stopping=null", "bootstrap.resamples=20", *words]
        with redirect_stdout(StringIO()), initialize_config_dir(str(folder()), version_base=VERSION_BASE):
            return pipeline.train(compose("train", given))

    def segmented(self, segmenter: str) -> list[str]:
        """Write masks of all samples by a segmenter; return the settings of data cropped to them."""
        place = self.root / "segmented"
        given = [f"paths.root={self.root}", f"run={segmenter}", f"folder={place}", *self.data]
        with redirect_stdout(StringIO()), initialize_config_dir(str(folder()), version_base=VERSION_BASE):
            external.run(compose("evaluate", given))
        source = load_masks(root=self.root / "cache", patients=self.patients, size=self.size, marker=1).root
        return [
            "data=table", f"data.path={place / segmented_data.TABLE_FILE}", f"data.root={source}",
            f"data.mask_root={place}", f"preprocess.segmenter={segmenter}",
        ]  # fmt: skip

    def tested(self, run: pipeline.Trained, with_masks: bool) -> tuple[Tested, np.ndarray]:
        """Test a classifier on both kinds of pictures; return the patient of each sample too, (N,)."""
        opened = open_run(run.folder)
        own = predictions.select(opened.predictions, keys.TEST).sort_values(keys.SAMPLE_ID, ignore_index=True)
        manifest = load_masks(root=self.root / "cache", patients=self.patients, size=self.size)
        table = manifest.table[manifest.table[keys.SAMPLE_ID].isin(own[keys.SAMPLE_ID])]
        table = table if with_masks else table.assign(**{keys.MASK: ""})
        network = opened.predictor
        assert isinstance(network, Predictor), "one network was trained"
        other = network.predict(replace(manifest, table=table.reset_index(drop=True)), self.root / "cache")
        other = other.sort_values(keys.SAMPLE_ID, ignore_index=True)
        assert other[keys.SAMPLE_ID].equals(own[keys.SAMPLE_ID]), "both test the same samples"
        return Tested(_right(own), _right(other)), own[keys.GROUP_ID].to_numpy(str)


def _right(frame: pd.DataFrame) -> np.ndarray:
    """Return whether each sample's most probable class is its own, float64 (N,)."""
    predicted = predictions.probabilities(frame).argmax(axis=1)
    return (predicted == frame[keys.Y_TRUE].to_numpy()).astype(float)


def shown(values: np.ndarray, weights: np.ndarray, sign: str = "") -> str:
    """Return the mean of values (N,) with its interval by the weights of the resamples (R, N)."""
    low, high = np.quantile(weights @ values / weights.sum(axis=1), LEVEL)
    return f"{values.mean():{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def main() -> None:
    """Train the segmenter and the three classifiers, and print their accuracy on both kinds of pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--size", type=int, default=64, help="side of the pictures [px]")
    parser.add_argument("--epochs", type=int, default=15)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    data = [
        "data=phantom_masks",
        f"data.patients={given.patients}",
        f"data.size={given.size}",
        "data.marker=1",
    ]
    with tempfile.TemporaryDirectory() as root:
        clinic = Clinic(Path(root), data, given.patients, given.size)
        common = [f"trainer.max_epochs={given.epochs}", f"preprocess.size={given.size}", "optimizer.lr=2e-3"]
        crop = [*common, "preprocess.crop=mask", f"preprocess.crop_levels={SECTOR}"]
        segmenter = clinic.train(
            *data, *common, "model=unet", f"task.levels={{background:[0,5],sector:{SECTOR}}}"
        )
        dice = open_run(segmenter.folder).metrics.set_index("metric").loc["dice"]
        print(f"Dice of the segmenter {dice['value']:.3f}, of the mean training mask {dice['baseline']:.3f}")
        arms = {
            "whole pictures": (clinic.train(*data, *common), False),
            "true masks": (clinic.train(*data, *crop), True),
            "masks of the segmenter": (clinic.train(*clinic.segmented(segmenter.id), *crop), False),
        }
        tested = {name: clinic.tested(*arm) for name, arm in arms.items()}
    groups = tested["whole pictures"][1]
    weights = np.concatenate(list(resample_weights(groups, RESAMPLES, seed=0)))
    print(f"{len(groups)} test pictures of {len(set(groups))} patients, accuracy [95 % interval]")
    print(f"{'':24}{'text reveals':24}{'text at random':24}difference")
    for name, ((revealing, random), _) in tested.items():
        cells = (shown(revealing, weights), shown(random, weights), shown(random - revealing, weights, "+"))
        print(f"{name:24}" + "".join(f"{cell:24}" for cell in cells).rstrip())


if __name__ == "__main__":
    main()
