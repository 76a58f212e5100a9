"""Three claims of the field, tested on the synthetic clinic, with intervals.

    python -m benchmarks.claims multimodal                      # grey + elastogram against either alone
    python -m benchmarks.claims ordinal                         # ordinal losses against cross-entropy
    python -m benchmarks.claims transfer --weights FILE         # ImageNet weights against none
    python -m benchmarks.claims ordinal --seeds 5 data.patients=400     # more seeds, further settings

Each arm is one run of `fibrolab.train` per seed, on the same patients and the same split; the seed determines
initial weights and order. A printed value is the mean of the metric over seeds on the test partition. Its
interval and that of the difference between two arms resample patients, 2,000 times, with the same draws for
all seeds of both arms. They do not include the variation between seeds, so that the range over seeds is
printed too.
"""

import argparse
import logging
import tempfile
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir

from fibrolab import keys, pipeline
from fibrolab.config import VERSION_BASE, folder
from fibrolab.evaluation import predictions
from fibrolab.evaluation.intervals.bootstrap import resample_weights
from fibrolab.evaluation.measures import metrics

RESAMPLES, LEVEL = 2000, (0.025, 0.975)


@dataclass(frozen=True)
class Claim:
    """A comparison: settings of all arms, settings of each arm, and the metrics that are compared."""

    common: list[str]
    arms: dict[str, list[str]]
    metrics: tuple[str, ...]


SWE = ["data=phantom_swe", "data.patients=240", "preprocess.size=64", "trainer.max_epochs=10"]
STILL = ["data=phantom", "data.patients=400", "data.images_per_patient=2", "data.size=64"]
CLAIMS = {
    "multimodal": Claim(
        [*SWE, "optimizer.lr=1e-3"],
        {
            "GM": ["model=single"],
            "EM": ["model=single", "model.branches.image.input=elastogram"],
            "GM+EM": ["model=multimodal"],
            "GM+EM, gated": ["model=multimodal", "fusion@model.fusion=gated", "model.fusion.width=128"],
        },
        ("accuracy", "macro_auc", "mae"),
    ),
    "ordinal": Claim(
        [*STILL, "data.separability=0.6", "trainer.max_epochs=16", "optimizer.lr=1e-3"],
        {
            "cross-entropy": ["loss=cross_entropy"],
            "soft ordinal": ["loss=soft_ordinal"],
            "CORN": ["loss=corn"],
            "CORAL": ["loss=coral"],
        },
        ("mae", "mae_of_median", "accuracy", "qwk"),
    ),
    "transfer": Claim(
        [
            "data=phantom", "data.patients=120", "data.images_per_patient=2", "data.size=96",
            "backbone@model.branches.image=tf_efficientnet_lite0", "trainer.max_epochs=8",
            "optimizer=adam", "optimizer.lr=3e-4",
        ],
        {"scratch": ["pretrained=false"], "transfer": ["model.branches.image.weights={weights}"]},
        ("accuracy", "macro_auc", "mae"),
    ),
}  # fmt: skip


def trained(root: Path, overrides: list[str]) -> pd.DataFrame:
    """Train one run and return its test predictions."""
    before = set(root.glob("mlruns/artifacts/*"))
    with (
        initialize_config_dir(str(folder()), version_base=VERSION_BASE),
        redirect_stdout(StringIO()),  # the output of a dozen runs would hide that of the comparison
    ):
        pipeline.run(compose("train", [f"paths.root={root}", *overrides]))
    (run,) = set(root.glob("mlruns/artifacts/*")) - before
    frame = predictions.read(run / "artifacts" / keys.PREDICTIONS_FILE)
    return predictions.select(frame, keys.TEST).sort_values(keys.SAMPLE_ID, ignore_index=True)


def drawn(runs: list[pd.DataFrame], weights: np.ndarray | None) -> dict[str, np.ndarray]:
    """Compute every metric of one arm as the mean over its seeds, (R,) each."""
    values = []
    for frame in runs:
        probabilities = predictions.probabilities(frame)
        classes = [str(k) for k in range(probabilities.shape[1])]
        truth = frame[keys.Y_TRUE].to_numpy()
        values.append(
            metrics.evaluate(truth, probabilities, classes, weights) | _median(truth, probabilities, weights)
        )
    return {name: np.mean([value[name] for value in values], axis=0) for name in values[0]}


def _median(
    truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Compute the mean absolute error of the median stage, which minimises its expectation, (R,)."""
    median = (probabilities.cumsum(axis=1) < 0.5).sum(axis=1)
    each = np.ones((1, len(truth))) if weights is None else weights
    return {"mae_of_median": (each * np.abs(median - truth)).sum(axis=1) / each.sum(axis=1)}


def compare(claim: Claim, arms: dict[str, list[pd.DataFrame]]) -> None:
    """Print every arm with its interval, and the difference of every pair."""
    groups = next(iter(arms.values()))[0][keys.GROUP_ID]
    for runs in arms.values():
        assert all(frame[keys.GROUP_ID].equals(groups) for frame in runs), "arms test on the same patients"
    weights = np.concatenate(list(resample_weights(groups.to_numpy(), RESAMPLES, seed=0)))
    point = {arm: drawn(runs, None) for arm, runs in arms.items()}
    spread = {arm: drawn(runs, weights) for arm, runs in arms.items()}
    print(f"{len(groups)} test samples of {groups.nunique()} patients")
    for name in claim.metrics:
        print(f"\n{name:18} {'value':>7}   95 % interval     over seeds")
        for arm, runs in arms.items():
            seeds = [float(drawn([frame], None)[name][0]) for frame in runs]
            low, high = np.quantile(spread[arm][name], LEVEL)
            interval = f"{point[arm][name][0]:7.3f}   [{low:.3f}, {high:.3f}]"
            print(f"{arm:18} {interval}    {min(seeds):.3f} to {max(seeds):.3f}")
        for before, arm in combinations(arms, 2):
            difference = point[arm][name][0] - point[before][name][0]
            low, high = np.quantile(spread[arm][name] - spread[before][name], LEVEL)
            print(f"  {arm} minus {before}: {difference:+.3f} [{low:+.3f}, {high:+.3f}]")


def main() -> None:
    """Train every arm, then compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("claim", choices=sorted(CLAIMS))
    parser.add_argument("overrides", nargs="*", help="further settings of all arms")
    parser.add_argument("--seeds", type=int, default=3, help="runs an arm")
    parser.add_argument("--weights", help="file of tf_efficientnet_lite0, for `transfer`")
    options = parser.parse_intermixed_args()  # settings may follow an option
    claim = CLAIMS[options.claim]
    if options.claim == "transfer" and not options.weights:
        parser.error("transfer needs --weights FILE")
    logging.disable(logging.WARNING)
    arms: dict[str, list[pd.DataFrame]] = {}
    with tempfile.TemporaryDirectory() as root:
        for arm, own in claim.arms.items():
            settings = [*claim.common, *(word.format(weights=options.weights) for word in own)]
            settings += [
                "split.seed=0",
                "callbacks.early_stopping=null",
                "audit.strict=false",
                *options.overrides,
            ]
            runs = [trained(Path(root), [*settings, f"seed={seed}"]) for seed in range(options.seeds)]
            arms[arm] = runs
    compare(claim, arms)


if __name__ == "__main__":
    main()
