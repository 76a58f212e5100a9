"""The segmenter that a classifier on cropped images carries in its checkpoint, for pictures without masks."""

from pathlib import Path

from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.config import arguments
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.preprocess import SEGMENTER, Preprocess
from fibrolab.errors import ConfigError
from fibrolab.mask_classes import of_task
from fibrolab.runs.trained_run import TrainedRun, open_run
from fibrolab.storage import put
from fibrolab.training.initial_weights import refuse_leaks


def carry(config: DictConfig, data: LabelledData, folder: Path) -> None:
    """Copy the network of `preprocess.segmenter` into the folder of a run, whose checkpoints then hold it.

    A resumed run has the copy already.

    Args:
        config: `conf/train.yaml`, composed.
        data: Data of this run; its validation and test samples must not have trained the segmenter.
        folder: Folder of the run.

    Raises:
        ConfigError: The named run is unknown, is no segmenter, did not make the masks of this data, kept no
            network, or writes masks of which the crop would keep nothing or everything.
        SplitError: The segmenter, or the choice of its settings, has seen test samples of this run; or its
            training has seen validation samples.
    """
    path = folder / keys.CHECKPOINTS / keys.SEGMENTER
    named = config.preprocess.get(SEGMENTER)
    if named is None or path.is_file():
        return
    where = f"preprocess.segmenter={named}"
    run = open_run(str(named), config.tracking.uri)
    if not run.segments:
        raise ConfigError(f"{where} does not segment images: name a run of a segmenter, such as model=unet.")
    run.refuse_several_networks()
    _refuse_masks_of_another(data, run, where)
    _refuse_other_levels(config, run, where)
    chose = (open_run(str(each), config.tracking.uri) for each in run.config.get("tuned_by") or ())
    for each in (run, *chose):
        refuse_leaks(each, data, where, "trained or tuned that segmenter")
    network = run.folder / keys.CHECKPOINTS / keys.BEST
    if not network.is_file():
        raise ConfigError(f"{where}: that run kept no network ({network}); a fast dev run keeps none.")
    put(path, network.read_bytes())


def _refuse_masks_of_another(data: LabelledData, run: TrainedRun, where: str) -> None:
    """Refuse a segmenter whose masks of new pictures would differ in kind from those of the training."""
    table = data.manifest.table
    makers = set(table[keys.SEGMENTED_BY].astype(str)) if keys.SEGMENTED_BY in table else set()
    if others := sorted(makers - {run.run_id}):
        raise ConfigError(
            f"{where} did not make the masks of '{data.manifest.name}', whose column {keys.SEGMENTED_BY} "
            f"names {', '.join(others)}: name that run, or write the masks again with this one."
        )


def _refuse_other_levels(config: DictConfig, run: TrainedRun, where: str) -> None:
    """Refuse a segmenter of whose masks the crop would keep the background, or nothing."""
    classes = of_task(run.config.task)
    assert classes is not None, "the run segments"
    preprocess = Preprocess(**arguments(config.preprocess, SEGMENTER))
    background, *others = preprocess.kept(classes.pixels()).tolist()
    if background or not any(others):
        written = ", ".join(
            f"{level} ({name})" for name, level in zip(classes.names, classes.pixels().tolist(), strict=True)
        )
        raise ConfigError(
            f"{where} writes masks with the grey levels {written}, of which preprocess.crop_levels="
            f"{config.preprocess.crop_levels} keeps {'the background' if background else 'none'}: choose "
            "levels of its classes."
        )
