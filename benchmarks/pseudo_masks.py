"""Pseudo-masks on phantoms, where the true liver is known: what they and a network trained on them are worth.

    python -m benchmarks.pseudo_masks
    python -m benchmarks.pseudo_masks --patients 60 --epochs 2        # quicker

The commands of paper 2's chain, on synthetic patients: a classifier of the stage; masks from its Grad-CAM
maps by each rule, with the paper's threshold and with the one that fits the true liver of the validation
samples best; an Attention U-Net trained on the paper's masks, and one on the true masks, in the same split.
Each row is the IoU with the true liver over the test images, with its 95 % interval by the bootstrap over
patients. The baselines look at no image: the pixels that more than half of the training masks hold, of the
true masks and of the pseudo-masks.
"""

import argparse
import math
import tempfile
import time
from pathlib import Path

import pandas as pd

from fibrolab import api, keys
from fibrolab.phantom.tissue import CAPSULE, LIVER
from fibrolab.runs import pseudo_masks as files

RULES = (  # the last one makes the masks that the network learns
    ("Otsu's threshold", "explain.mask_rule=otsu"),
    ("random walker", "explain.mask_rule=random_walker"),
    ("threshold chosen on validation samples", "explain.mask_threshold=chosen"),
    ("0.5 of the maximum", "explain.mask_threshold=0.5"),
)
LEVELS = f"[{LIVER},{CAPSULE}]"


def chain(root: Path, given: argparse.Namespace) -> pd.DataFrame:
    """Run the chain, and return a row each: value, low, high of the IoU with the true liver."""
    place = [f"paths.root={root}", "num_workers=0"]
    common = [
        *place, f"preprocess.size={given.size}", f"trainer.max_epochs={given.epochs}", "tuned_by=[]",
        "bootstrap.resamples=1000", "callbacks.early_stopping=null",
    ]  # fmt: skip
    phantoms = [
        "data=phantom_masks", f"data.patients={given.patients}", f"data.size={given.size}",
        f"data.seed={given.seed}", f"seed={given.seed}",
    ]  # fmt: skip
    segmenter = ["model=attention_unet", "loss=binary_cross_entropy", f"seed={given.seed}"]
    classifier = api.train(*common, *phantoms, f"backbone@model.branches.image={given.backbone}")
    accuracy = classifier.metrics.set_index("metric").loc["accuracy"]
    print(
        f"accuracy of the classifier: {accuracy['value']:.2f} [{accuracy['low']:.2f}, {accuracy['high']:.2f}]"
    )
    found: dict[str, tuple[float, ...]] = {}
    for name, rule in RULES:
        layer = [] if given.layer is None else [f"explain.layer={given.layer}"]
        words = (
            f"run={classifier.run_id}",
            "pseudo_masks=true",
            f"explain.true_levels={LEVELS}",
            "samples=4",
        )
        api.explain(*place, *words, *layer, rule)
        metrics = pd.read_csv(classifier.folder / keys.PSEUDO_MASKS / files.METRICS)
        found[f"pseudo-masks, {name}"] = row(metrics, "iou")
    own = api.train(*common, *segmenter, "data=pseudo_masks", f"data.run={classifier.run_id}")
    found["U-Net on pseudo-masks"] = row(own.metrics, "iou")
    rest = "[0,1,4,5]"
    truth = f"task.levels={{background:{rest},liver:{LEVELS}}}"
    on_true = api.train(*common, *segmenter, *phantoms, truth)
    assert set(on_true.tested) == set(own.tested), "both networks are tested on the same images"
    found["U-Net on true masks"] = row(on_true.metrics, "iou")
    found["mean training pseudo-mask"] = row(own.metrics, "iou", "baseline")
    found["mean true training mask"] = row(metrics, "iou", "baseline")
    agreement = "U-Net on pseudo-masks, agreement with the classifier's maps, not with anatomy"
    found[agreement] = row(own.metrics, "agreement_with_maps_iou")
    return pd.DataFrame.from_dict(found, orient="index", columns=["value", "low", "high"])


def row(metrics: pd.DataFrame, metric: str, column: str = "value") -> tuple[float, ...]:
    """Return value, low and high of a metric; of its baseline NaN for the ends of an interval."""
    names = [column, "low", "high"] if column == "value" else [column]
    values = metrics.set_index("metric")[names].to_numpy(float)[metrics["metric"].tolist().index(metric)]
    return tuple(values.tolist() + [math.nan] * (3 - len(names)))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--patients", type=int, default=200)
    parser.add_argument("--size", type=int, default=64, help="side of the images [px]")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--layer", help="layer of the maps; by default the last one with a map")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        table = chain(Path(folder), given)
    print("\nIoU with the true liver over the test images:")
    print(table.to_string(float_format="{:.3f}".format, na_rep=""))
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
