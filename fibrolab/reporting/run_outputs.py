"""All that a reader sees of a run, from the files of its folder: figures, tables, report, card, checklist."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf
from PIL import Image

from fibrolab import keys
from fibrolab.evaluation.segmentation.images import CLASS, of_partition, reference
from fibrolab.mask_classes import MaskClasses
from fibrolab.reporting import run_page
from fibrolab.reporting.checklists import documents
from fibrolab.reporting.figures import images as contact_sheets
from fibrolab.reporting.figures import masks
from fibrolab.reporting.figures import run as figures
from fibrolab.reporting.figures.style import save
from fibrolab.runs.trained_run import TrainedRun

CASES = 4  # best and worst segmentations that are shown
SHOWN = 10  # misclassified samples whose images are shown


def write(folder: Path, images: Sequence[np.ndarray] | None = None, labels: np.ndarray | None = None) -> None:
    """Write figures, tables, model card, checklist and report of a run.

    Args:
        folder: Folder of the run.
        images: Training images as the network receives them, uint8 (H, W) or (H, W, 3), for a contact sheet.
        labels: Class of each.
    """
    figures.draw_all(folder)
    if images and labels is not None:
        task = OmegaConf.load(folder / keys.CONFIG_FILE).task
        titles = ["" if "levels" in task else str(task.classes[int(label)]) for label in labels]
        sheet = contact_sheets.samples(images, titles)
        save(sheet, folder / keys.FIGURES / "samples.png")
    for write_document in (documents.write_model_card, documents.write_checklist, run_page.write):
        write_document(folder)


def draw_masks(folder: Path, labelled: Callable[[Sequence[str]], Mapping[str, Any]]) -> None:
    """Draw the test images with the best and the worst Dice; call it before `write`.

    Args:
        folder: Folder of the run, evaluated.
        labelled: Return samples with their masks by id, as `FibrosisDataModule.labelled_images` does.
    """
    run = TrainedRun(folder)
    rows = of_partition(run.mask_measures, keys.TEST)
    dice = rows.groupby(keys.SAMPLE_ID)["dice"].mean().sort_values(kind="stable")
    titles = {sample: f"Dice {value:.2f}" for sample, value in dice.items()}
    names = MaskClasses.of(run.config.task.levels, run.config.task.ignore).names[1:]
    if len(names) > 1:
        least = rows.loc[rows.groupby(keys.SAMPLE_ID)["dice"].idxmin()]
        for sample, name, value in least[[keys.SAMPLE_ID, CLASS, "dice"]].to_numpy().tolist():
            titles[sample] += f", {name} {value:.2f}"
    number = min(CASES, len(dice) // 2) or 1
    chosen = {"Best": dice.index[::-1][:number], "Worst": dice.index[:number]}
    found = mask_cases(run, {each: titles[each] for kind in chosen.values() for each in kind}, labelled)
    shown = [(kind, [found[sample] for sample in samples]) for kind, samples in chosen.items()]
    sheet = masks.cases(shown, masks.REFERENCES[reference(run.mask_measures)], names)
    save(sheet, folder / keys.FIGURES / "masks.png")


def mask_cases(
    run: TrainedRun, titles: Mapping[str, str], labelled: Callable[[Sequence[str]], Mapping[str, Any]]
) -> dict[str, masks.Case]:
    """Return test images with the masks that they are measured by and the predicted ones, by sample_id.

    Args:
        run: Run of a segmenter, evaluated.
        titles: Text above each image, by sample_id.
        labelled: Return samples with their masks by id, as `FibrosisDataModule.labelled_images` does.
    """
    table = MaskClasses.of(run.config.task.levels, run.config.task.ignore).table()
    paths = pd.read_csv(run.folder / keys.MASKS_FILE, dtype=str).set_index(keys.SAMPLE_ID)[keys.MASK]
    cases = {}
    for sample, levels in labelled(list(titles)).items():
        predicted = levels.box.of(np.asarray(Image.open(run.folder / paths[sample])))
        cases[sample] = masks.Case(titles[sample], levels.image, table[levels.labels], table[predicted])
    return cases


def draw_mistakes(folder: Path, test_images: Callable[[Sequence[str]], Mapping[str, np.ndarray]]) -> None:
    """Draw the images with the largest errors; call it before `write`, which puts them on the page.

    Args:
        folder: Folder of the run, evaluated.
        test_images: Return the images of some samples by sample_id, as `FibrosisDataModule.test_images` does.
    """
    ids = {keys.SAMPLE_ID: str}
    table = pd.read_csv(folder / "mistakes.csv", converters=ids).head(SHOWN).set_index(keys.SAMPLE_ID)
    if images := test_images(list(table.index)):
        rows = table.loc[list(images)]
        titles = [
            f"true {true}, predicted {predicted}, {100 * probability:.0f} %"
            for true, predicted, probability in zip(
                rows["true"], rows["predicted"], rows["probability"], strict=True
            )
        ]
        sheet = contact_sheets.mistakes(list(images.values()), titles)
        save(sheet, folder / keys.FIGURES / "mistakes.png")
