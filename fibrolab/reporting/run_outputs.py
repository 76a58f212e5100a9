"""All that a reader sees of a run, from the files of its folder: figures, tables, report, card, checklist."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from fibrolab import keys
from fibrolab.reporting import run_page
from fibrolab.reporting.checklists import documents
from fibrolab.reporting.figures import images as contact_sheets
from fibrolab.reporting.figures import run as figures
from fibrolab.reporting.figures.style import save

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
        classes = list(OmegaConf.load(folder / keys.CONFIG_FILE).task.classes)
        sheet = contact_sheets.samples(images, [classes[label] for label in labels])
        save(sheet, folder / keys.FIGURES / "samples.png")
    for write_document in (documents.write_model_card, documents.write_checklist, run_page.write):
        write_document(folder)


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
