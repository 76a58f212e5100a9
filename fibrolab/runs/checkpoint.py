"""Checkpoints that suffice to predict: the record stored in them, and the predictor loaded from one.

Under the key `fibrolab` every checkpoint holds, as strings, numbers, lists and dicts, the class of the
module, task, classes, preprocessing, frames of clips, normalisation, precision, needed inputs, hashes of
manifest and split, and versions. Decision thresholds and temperature are fitted on validation after the
training: they are added to `best.ckpt` when the run has been evaluated; `last.ckpt` has none.

Under the key `fibrolab_segmenter` it holds the whole checkpoint of the segmenter that makes the masks of new
pictures, uint8 (bytes,), where images are cropped to their masks and one is named.
"""

import hashlib
import io
import logging
import pickle
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.fabric.utilities import move_data_to_device

from fibrolab import keys
from fibrolab.data import input_check
from fibrolab.data.cache import PixelStore
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.features import FeatureTable
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.data.preprocess import Preprocess
from fibrolab.data.splits import all_test
from fibrolab.errors import ConfigError, DataError
from fibrolab.modules.base import Batch, Classifier, TrainedModule
from fibrolab.runs import nearest_cases, new_input, segmenting, training_record, typicality
from fibrolab.runs.nearest_cases import Cases
from fibrolab.runs.typicality import Reference
from fibrolab.storage import put
from fibrolab.targets import imported

KEY = "fibrolab"
SEGMENTER_KEY = "fibrolab_segmenter"
# Most samples in a batch on a CPU. Layers of larger batches leave its cache and are allocated anew each time:
# at 224 pixels, batches of 32 take 1.2 (ResNet-18) to 2.1 times as long (EfficientNet-B0) a picture.
CPU_BATCH = 8
UNREADABLE = (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError)


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write a file as `torch.save` does, whole or not at all, without a copy of it in memory.

    Raises:
        StorageError: The disk is full, or the folder cannot be written.
    """
    put(path, partial(_stream, content))


def _stream(content: Mapping[str, Any], file: IO[bytes]) -> None:
    try:
        torch.save(content, file)
    except RuntimeError as fault:
        if isinstance(fault.__context__, OSError):  # torch then misses the bytes that could not be written
            raise fault.__context__ from None
        raise


def is_whole(path: Path) -> bool:
    """Return whether every byte of a checkpoint is as it was written.

    `torch.load` does not compare the checksums that the file holds.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError):
        return False


def complete(path: Path, endpoints: pd.DataFrame, calibration: pd.DataFrame) -> None:
    """Add the thresholds and the temperature of an evaluation to a checkpoint, by rewriting the file.

    Args:
        path: The checkpoint of the best epoch.
        endpoints: `endpoints.csv` of the run.
        calibration: `calibration.csv` of the run.

    Raises:
        StorageError: The disk is full.
    """
    with path.open("rb") as file:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    completed = checkpoint[KEY] | training_record.fitted_on_validation(endpoints, calibration)
    if completed != checkpoint[KEY]:
        save({**checkpoint, KEY: completed}, path)


@dataclass(frozen=True)
class Predictor:
    """A trained module and the record of its training.

    Attributes:
        path: The checkpoint.
        module: The module, of the class that was trained.
        record: As `training_record.described` returns it.
        segmenter: The segmenter that makes the masks of new pictures, to which they are cropped.
        sha256: Hash of the checkpoint, of a segmenter that another checkpoint holds.
    """

    path: Path
    module: TrainedModule
    record: Mapping[str, Any]
    segmenter: "Predictor | None" = None
    sha256: str = ""

    @property
    def classifier(self) -> Classifier:
        """The module of a network that classifies.

        Raises:
            ConfigError: It segments.
        """
        if not isinstance(self.module, Classifier):
            raise ConfigError(
                f"{self.path} holds a segmenter, whose prediction is a map itself: name the run of a "
                "classifier."
            )
        return self.module

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the probabilities."""
        return list(self.record["classes"])

    @cached_property
    def reference(self) -> Reference | None:
        """Training samples of the network, to recognise samples unlike them; None if none are stored.

        Raises:
            DataError: The file is damaged.
        """
        return typicality.read(typicality.beside(self.path))

    @cached_property
    def cases(self) -> Cases | None:
        """Training samples with small pictures, to show those nearest to a sample; None if none are stored.

        Raises:
            DataError: The file is damaged, or is not of the same training as the reference.
        """
        found = nearest_cases.read(nearest_cases.beside(self.path))
        if found and (self.reference is None or len(found.samples) != len(self.reference.features)):
            raise DataError(
                f"{nearest_cases.beside(self.path)} and {typicality.beside(self.path).name} hold other "
                "samples: train the run again."
            )
        return found

    @property
    def thresholds(self) -> dict[str, dict[str, dict[str, float]]]:
        """Decision thresholds by level (`sample`, `patient`), end point and rule.

        Raises:
            ConfigError: The checkpoint was not written at the end of an evaluated run.
        """
        return dict(self._fitted("thresholds"))

    @property
    def temperature(self) -> dict[str, float]:
        """Temperature of the probabilities by level.

        Raises:
            ConfigError: As `thresholds`.
        """
        return dict(self._fitted("temperature"))

    def _fitted(self, name: str) -> Mapping[str, Any]:
        if self.record[name] is None:
            raise ConfigError(
                f"{self.path} holds no {name}: it is added when the run has been evaluated. Give the "
                f"{keys.BEST} of a finished run."
            )
        found = self.record[name]
        assert isinstance(found, Mapping)
        return found

    def predict(self, data: Manifest | LabelledData, cache: Path | None = None) -> pd.DataFrame:
        """Predict every sample; labels are optional.

        Args:
            data: New samples from any source, or the run's own ones.
            cache: Folder for surveys and preprocessed pixels; a temporary one by default.

        Returns:
            The columns of `predictions.csv`, partition `test` and fold 0; `y_true` is `keys.UNLABELLED` where
            no label is known.

        Raises:
            ConfigError: The data has labels of other classes, or lacks an input of the network.
            DataError: A file cannot be read, or new samples lack an input that every training sample had.
        """
        if isinstance(data, Manifest):
            self.require_inputs(data)
        with temporary_unless(cache) as folder:
            labelled = (
                data if isinstance(data, LabelledData) else new_input.as_data(data, self.record, folder)
            )
            stores = self.stores(folder, lasting=cache is not None)
            probabilities, _ = self.probabilities(labelled, folder, stores=stores)
        columns = [keys.SAMPLE_ID, keys.GROUP_ID, keys.PATIENT_ID, keys.SITE]
        frame = labelled.manifest.table.reindex(columns=columns).fillna("").reset_index(drop=True)
        frame[keys.PARTITION], frame[keys.FOLD], frame[keys.Y_TRUE] = keys.TEST, 0, labelled.labels
        frame[keys.probability_columns(probabilities.shape[1])] = probabilities
        return frame

    def probabilities(
        self,
        data: LabelledData,
        cache: Path,
        frozen: tuple[Mapping[str, FeatureTable], Sequence[str]] = ({}, ()),
        stores: Mapping[str, PixelStore] | None = None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the probabilities of every sample, and the features that the network gives to its head.

        Args:
            data: N samples.
            cache: Folder for masks and preprocessed pixels.
            frozen: Known features of frozen branches, as `FibrosisDataModule.use_features` takes them.
            stores: Stores of the pixels of each modality; None for those of the cache.

        Returns:
            Probabilities, float64 (N, K), and features, float32 (N, F), None of a network without a head of
            ours, both in the order of the samples.

        Raises:
            ConfigError: The data lacks an input of the network.
            DataError: A file cannot be read.
        """
        masked = self.masked(replace(data, split=all_test(data.manifest)), cache)
        datamodule = self.datamodule(masked, cache, stores=stores)
        if frozen[0]:
            datamodule.use_features(*frozen)
        datamodule.prepare_data()
        given = list[torch.Tensor]()
        head = getattr(self.module.network, "head", None)
        hook = None
        if isinstance(self.module, Classifier) and isinstance(head, torch.nn.Module):
            hook = head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].float().cpu()))
        try:
            answers = self._answers(datamodule.test_dataloader())
        finally:
            if hook:
                hook.remove()
        rows, probabilities = (
            torch.cat([answer[name] for answer in answers]).cpu() for name in (keys.INDEX, "probabilities")
        )
        order = torch.argsort(rows)
        features = torch.cat(given).flatten(1)[order].numpy() if given else None
        return probabilities[order].double().numpy(), features

    def datamodule(
        self,
        data: LabelledData,
        cache: Path,
        batch_size: int = 0,
        num_workers: int | str = 0,
        stores: Mapping[str, PixelStore] | None = None,
    ) -> FibrosisDataModule:
        """Return the samples as this network takes them.

        Args:
            data: The samples.
            cache: Folder for preprocessed pixels.
            batch_size: Samples in a batch; 0 for the one in which this machine predicts.
            num_workers: Loader processes, or `auto`.
            stores: Stores of the pixels of each modality; None for those of the cache.

        Raises:
            ConfigError: The data lacks an input of the network.
        """
        return FibrosisDataModule(
            data=data,
            stores=self.stores(cache) if stores is None else stores,
            segment=Segment(**self.record["segment"]),
            batch_size=batch_size or self.batch_size,
            num_workers=num_workers,
            clinical=self.module.clinical_columns,
        )

    def require_columns(self, manifest: Manifest) -> None:
        """Refuse samples without a column for each input of the network, in which cells may be empty.

        Raises:
            DataError: There is no such column.
        """
        _refuse(input_check.lacking(manifest, self.module.modalities, self.module.clinical_columns))

    def require_inputs(self, manifest: Manifest) -> None:
        """Refuse new samples that lack an input which every training sample had.

        Raises:
            DataError: There is no column of an input, or there are such samples, which are named.
        """
        self.require_columns(manifest)
        _refuse(input_check.without_needed(manifest, self.needed))

    @property
    def needed(self) -> list[str]:
        """Modalities and clinical columns that the training never left out; all, where that is not known."""
        every = [*self.module.modalities, *self.module.clinical_columns]
        return list(self.record.get(training_record.NEEDED, every))

    @cached_property
    def batch_size(self) -> int:
        """Samples in a batch: as in the training, on a CPU at most `CPU_BATCH`."""
        trained: int = self.record["batch_size"]
        return trained if torch.accelerator.is_available() else min(trained, CPU_BATCH)

    def stores(self, cache: Path, lasting: bool = True) -> dict[str, PixelStore]:
        """Return the store of this network's pixels for each modality.

        Args:
            cache: Folder of all caches.
            lasting: False if the folder is removed soon (`PixelStore`).
        """
        return stores(self.record["preprocess"], self.module, cache, lasting=lasting)

    def masked(self, data: LabelledData, cache: Path) -> LabelledData:
        """Return samples with the masks to which this network's images are cropped.

        If no sample has a mask, the network's segmenter makes them, once for each image; they are kept in the
        cache. All other samples are returned as they are.

        Args:
            data: The samples.
            cache: Folder for masks and preprocessed pixels.

        Raises:
            DataError: A file cannot be read.
        """
        present = data.manifest.present(keys.IMAGE)
        if self.segmenter is None or data.manifest.present(keys.MASK).any() or not present.any():
            return data
        root = cache / "masks" / self.segmenter.sha256
        names = np.full(len(present), "", object)
        names[present] = self.segmenter.write_masks(data, root, cache)
        table = data.manifest.table.assign(**{keys.MASK: names})
        return replace(data, manifest=replace(data.manifest, table=table, mask_root=root))

    def write_masks(self, data: LabelledData, folder: Path, cache: Path) -> list[str]:
        """Write the predicted mask of every image that has none in the folder (`segmenting.MaskFiles`).

        Args:
            data: The samples; those without an image are left out.
            folder: Folder of the masks of this segmenter alone: a mask is named by the hash of its image.
            cache: Folder for preprocessed pixels.

        Returns:
            File name of the mask of each sample that has an image, in their order.

        Raises:
            DataError: An image cannot be read.
            StorageError: The disk is full, or the folder cannot be written.
        """
        rows = np.flatnonzero(data.manifest.present(keys.IMAGE))
        names = [f"{digest}.png" for digest in data.facts[keys.IMAGE]["sha256"].iloc[rows]]
        every = dict(zip(names, rows.tolist(), strict=True))
        if missing := {name: row for name, row in every.items() if not (folder / name).is_file()}:
            chosen = data.subset(np.array(list(missing.values())))
            datamodule = self.datamodule(chosen, cache)
            datamodule.prepare_data()
            preprocess, classes = Preprocess(**self.record["preprocess"]), segmenting.classes_of(self.module)
            writer = segmenting.MaskFiles(chosen, classes, preprocess, [folder / name for name in missing])
            loader = datamodule.test_dataloader()
            self.trainer(writer).predict(self.module, loader, return_predictions=False)
        return names

    def trainer(self, *callbacks: L.Callback) -> L.Trainer:
        """Return a trainer that predicts with this network, without log and progress bar."""
        silence_warnings()
        return L.Trainer(
            devices=1,
            precision=self.record["precision"],
            callbacks=list(callbacks),
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    @cached_property
    def _trainer(self) -> L.Trainer:
        """Trainer of all predictions: to make one takes longer than to predict a picture."""
        return self.trainer()

    def _answers(self, batches: Iterable[Batch]) -> list[Batch]:
        """Return the answers to batches, on the device and in the precision of `trainer`.

        To start the loop of a trainer takes longer than to predict a picture.
        """
        device, precision = self._trainer.strategy.root_device, self._trainer.precision_plugin
        module, home = self.module, self.module.device
        if module.training:
            module.eval()
        try:
            if device != home:
                module.to(device)
            with torch.inference_mode(), precision.predict_step_context():
                return [
                    module.predict_step(move_data_to_device(precision.convert_input(batch), device), number)
                    for number, batch in enumerate(batches)
                ]
        finally:
            if device != home:
                module.to(home)


def needed_by(networks: Iterable[Predictor]) -> list[str]:
    """Return the modalities and clinical columns without which some of these networks cannot answer."""
    return list(dict.fromkeys(name for network in networks for name in network.needed))


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        raise DataError(" ".join(faults))


def load(path: Path) -> Predictor:
    """Load a checkpoint, without any other file of its run.

    Args:
        path: `best.ckpt` of a run, or `last.ckpt`, which has neither thresholds nor temperature.

    Raises:
        ConfigError: Another version of fibrolab or another program wrote the file, or the class that was
            trained cannot be imported.
        DataError: The file is damaged.
    """
    return _read(path)


def _read(path: Path, source: io.BytesIO | None = None) -> Predictor:
    """Read a checkpoint, or one of the same content as `source`, which the file at this path holds."""
    try:
        found = torch.load(source or path, map_location="cpu", weights_only=True, mmap=source is None)
        record = found.get(KEY) if isinstance(found, Mapping) else None
        if not isinstance(record, Mapping) or record.get("format") != keys.FORMAT:
            raise ConfigError(
                f"{path} was written by another program, or by a version of fibrolab whose checkpoints can "
                "no longer be read: train the run again."
            )
        if strange := {"hyper_parameters", "state_dict"} - set(found):
            raise DataError(f"{path} holds no {' nor '.join(sorted(strange))}: give a checkpoint of a run.")
        target = imported(record["_target_"], "model._target_")
        if source:
            source.seek(0)
        # Lightning's wrapper of the class method inspects the source of every frame of the stack, which takes
        # longer than to load a small network (pytorch#67146); `__func__` is the method itself.
        load_from = target.load_from_checkpoint.__func__
        module = load_from(target, source or path, map_location="cpu", weights_only=True)
        carried = found.get(SEGMENTER_KEY)
    except UNREADABLE as error:
        # Not the text of `pickle`'s errors: torch advises there to load the file without its protection.
        reason = "it is not a file of tensors" if isinstance(error, pickle.UnpicklingError) else str(error)
        raise DataError(f"{path} is damaged ({' '.join(reason.split())}): train the run again.") from error
    if carried is None:
        return Predictor(Path(path), module.eval(), record)
    content = carried.numpy().tobytes()
    segmenter = replace(_read(path, io.BytesIO(content)), sha256=hashlib.sha256(content).hexdigest())
    return Predictor(Path(path), module.eval(), record, segmenter)


def stores(
    preprocess: Mapping[str, Any],
    module: TrainedModule,
    cache: Path,
    learns: bool = False,
    lasting: bool = True,
) -> dict[str, PixelStore]:
    """Return the store of preprocessed pixels for each image modality of a module.

    Args:
        preprocess: Settings of `Preprocess`.
        module: The module.
        cache: Folder of all caches.
        learns: Whether the masks that the module learns are needed too.
        lasting: False if the folder is removed soon (`PixelStore`).
    """
    grey = Preprocess(**preprocess)
    modalities = module.modalities
    if learns and module.target == keys.MASK:
        modalities.append(keys.MASK)
    return {name: PixelStore(cache / "pixels", grey.of(name), lasting) for name in modalities}


@contextmanager
def temporary_unless(given: Path | None) -> Iterator[Path]:
    """Yield a given folder, or else a temporary one."""
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="fibrolab-") as made:
        yield Path(made)


def silence_warnings() -> None:
    """Silence Lightning's warnings about settings that are chosen on purpose."""
    for text in (
        ".*does not have many workers.*",
        ".*number of training batches.*",
        ".*have no `val_dataloader`.*",  # split.val=0
        ".*length of `DataLoader` across ranks is zero.*",  # split.val=0 under fast_dev_run
        ".*Checkpoint directory .* exists.*",
        ".*pin_memory.*",
        ".*LeafSpec.*",  # Lightning 2.6 with torch 2.14
        ".*in eval mode at the start of training.*",  # frozen backbones stay in eval mode
        ".*`srun` command is available.*",  # ranks need no srun
        ".*Grad strides do not match.*",  # a matter of speed only
        ".*sync_dist=True.*",  # these values are equal on all ranks
        ".*ended before the epoch ended.*",  # the sampler skips the samples that are done
    ):
        warnings.filterwarnings("ignore", text)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
