"""Out-of-distribution score of predict on strangers at hand: AUC against the run's own test pictures.

    python -m benchmarks.strangers
    python -m benchmarks.strangers --data DIR        # a folder with F0 ... F4 instead of phantoms
    python -m benchmarks.strangers --others DIR      # also pictures and films of folders such as DIR/breast
    python -m benchmarks.strangers --patients 130 --size 64 --image-size 32 --epochs 1

Strangers are the photographs that come with scikit-image and scikit-learn, ultrasound of other organs that
comes with pydicom (frames of one film count as one), and white noise; as they are, and again as grey pictures
of the size and with the mean and SD of a test picture, so that only their content tells. Prints the AUC of
one minus typicality with its interval, and the proportion called unlike, of strangers and of test pictures.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import roc_auc_score

from benchmarks.predicting import composed
from fibrolab import keys
from fibrolab.data.readers import decode_clip, describe, read_image
from fibrolab.errors import UnreadableImageError
from fibrolab.evaluation.intervals import bootstrap
from fibrolab.pipeline import train
from fibrolab.runs import answering, new_input, open_run, own_samples, sample_answers
from fibrolab.runs.trained_run import TrainedRun

NOISE = 20  # pictures of white noise
EVERY = 6  # frame of a film
Strangers = dict[str, list[tuple[str, np.ndarray]]]  # by kind: group and picture


def photographs() -> Iterator[tuple[str, np.ndarray]]:
    """Yield the photographs that come with scikit-image and scikit-learn."""
    import skimage
    import sklearn

    for place in (Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets/images"):
        for path in sorted(path for path in place.iterdir() if path.suffix in (".png", ".jpg")):
            yield path.name, read_image(path)


def other_ultrasound() -> Iterator[tuple[str, np.ndarray]]:
    """Yield the ultrasound pictures that come with pydicom, and frames of its film."""
    import pydicom
    import pydicom.data

    for path in sorted(Path(pydicom.data.__file__).parent.glob("test_files/**/*.dcm")):
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        if header.get("Modality") != "US":
            continue
        if int(header.get("NumberOfFrames") or 1) > 1:
            for frame in decode_clip(path.read_bytes(), path).frames[::EVERY]:
                yield path.name, frame
            continue
        try:
            yield path.name, read_image(path)
        except UnreadableImageError as fault:
            print(f"left out: {fault}")


def of_folder(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the pictures of a folder, and frames of its films; those of one file count as one."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if describe(content, path).frames == 1:
            yield path.name, read_image(path)
            continue
        for frame in decode_clip(content, path).frames[::EVERY]:
            yield path.name, frame


def noise(side: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield white noise."""
    for seed in range(NOISE):
        yield f"noise {seed}", np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)


def alike(pixels: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Return a picture in grey, in the size and with the mean and SD of another one."""
    size = (model.shape[1], model.shape[0])
    grey = np.asarray(Image.fromarray(pixels).convert("L").resize(size), np.float64)
    scaled = (grey - grey.mean()) / max(grey.std(), 1.0) * model.std() + model.mean()
    return np.asarray(scaled.clip(0, 255).round(), np.uint8)


def answered(run: TrainedRun, place: Path) -> pd.DataFrame:
    """Return the answers of a run to a folder of pictures."""
    network = run.predictors[0]
    manifest = new_input.listed([place], network.record, network.module.inputs)
    return sample_answers.of(manifest, run, answering.rules(run, 0.1)[answering.SAMPLE])


def auc(own: pd.DataFrame, strangers: pd.DataFrame) -> str:
    """Return the AUC of one minus typicality with its bootstrap interval over groups."""
    score = 1 - np.concatenate([own["typicality"], strangers["typicality"]]).astype(np.float64)
    truth = np.repeat([0, 1], [len(own), len(strangers)])
    groups = np.concatenate([own["group"], strangers["group"]])

    def measure(weights: np.ndarray | None) -> dict[str, np.ndarray]:
        rows = np.ones((1, len(score))) if weights is None else weights
        drawn = [len(set(truth[row > 0])) == 2 for row in rows]  # a resample may lack one kind
        values = [
            roc_auc_score(truth, score, sample_weight=row) if both else np.nan
            for row, both in zip(rows, drawn, strict=True)
        ]
        return {"auc": np.array(values)}

    row = bootstrap.resampled(measure, groups).loc["auc"]
    return f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def report(run: TrainedRun, root: Path, others: Path | None = None) -> None:
    """Print a line for each kind of strangers, also those of a folder, as they are and made alike."""
    data = own_samples.reloaded(run, root / "cache")
    tested = run.samples[run.samples[keys.PARTITION] == keys.TEST]
    chosen = own_samples.chosen(data, run, tested.index.tolist())
    rules = answering.rules(run, 0.1)[answering.SAMPLE]
    own = sample_answers.of(chosen.manifest, run, rules).assign(group=chosen.manifest.groups)
    pictures = [read_image(item.path, item.view) for item in chosen.manifest.pictures()]
    greys = [np.asarray(Image.fromarray(each).convert("L"), np.float64) for each in pictures]
    print(f"{len(own)} test pictures of the run, {own['unlike_training'].mean():.1%} called unlike")
    side = pictures[0].shape[0]
    kinds: Strangers = {
        "photographs": list(photographs()),
        "other ultrasound": list(other_ultrasound()),
        "noise": list(noise(side)),
    }
    for folder in sorted(others.iterdir()) if others else ():
        kinds[folder.name] = list(of_folder(folder))
    for kind, found in kinds.items():
        for form in ("as they are", "made alike"):
            place = root / f"{kind} {form}"
            place.mkdir()
            for number, (_, pixels) in enumerate(found):
                shown = pixels if form == "as they are" else alike(pixels, greys[number % len(greys)])
                Image.fromarray(shown).save(place / f"{number:04}.png")
            answers = answered(run, place).assign(group=[f"stranger {group}" for group, _ in found])
            rate = answers["unlike_training"].mean()
            print(f"{kind:17} {form:12} n={len(answers):3} AUC {auc(own, answers)}, {rate:.1%} called unlike")


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder with F0 ... F4; without it phantoms")
    parser.add_argument("--patients", type=int, default=200, help="of the phantoms")
    parser.add_argument("--size", type=int, default=256, help="of the phantoms [pixels]")
    parser.add_argument("--image-size", type=int, default=128, help="that the network takes [pixels]")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--others", type=Path, help="folder of folders with pictures of other kinds")
    given = parser.parse_args()
    phantoms = [f"data.patients={given.patients}", "data.images_per_patient=1", f"data.size={given.size}"]
    data = ["data=kaggle_fibrosis", f"data.root={given.data}"] if given.data else phantoms
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        words = [*data, f"preprocess.size={given.image_size}", f"trainer.max_epochs={given.epochs}"]
        small = ["trainer.accelerator=cpu", "num_workers=0", "bootstrap.resamples=20", "split.val=0.35"]
        trained = train(composed("train", f"paths.root={root}", *words, *small))
        report(open_run(trained.folder), root, given.others)


if __name__ == "__main__":
    main()
