"""Build and train one Lightning module, and predict with it."""

import logging
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from torch.utils.data import default_collate

from fibrolab import environment, keys
from fibrolab.callbacks.averaging import build_averaging
from fibrolab.callbacks.history import History
from fibrolab.callbacks.prediction_writer import PredictionWriter
from fibrolab.callbacks.stopping_and_resuming import BestCheckpoint, FiniteLoss, PlateauMemory, RandomState
from fibrolab.config import arguments, resolved
from fibrolab.data import clinical
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.labelled_data import LabelledData
from fibrolab.errors import ConfigError
from fibrolab.models.branches import clinical_columns
from fibrolab.modules.base import Classifier
from fibrolab.runs import checkpoint
from fibrolab.targets import call, imported
from fibrolab.tracking import TrackedRun
from fibrolab.training import precision, resuming, trainer_parts


@dataclass(frozen=True)
class Fitted:
    """Result of a training: best value of the monitored metric (None after a fast dev run), and device."""

    best: float | None
    device: str


def build_module(config: DictConfig, data: LabelledData) -> Classifier:
    """Build the Lightning module that `model._target_` names; the seed determines its random weights.

    Raises:
        ConfigError: A setting is invalid, `monitor` is not a metric of the module, or `mode` does not match
            it.
        WeightsError: A branch's weights cannot be found or downloaded, or do not fit.
    """
    L.seed_everything(config.seed, workers=True, verbose=False)
    settings = arguments(config.model)
    counts = np.bincount(data.labels[data.split.rows(keys.TRAIN)], minlength=len(data.classes))
    target = settings.pop("_target_")
    build = imported(target, "model._target_")
    if not (isinstance(build, type) and issubclass(build, Classifier)):
        raise ConfigError(f"model._target_={target} is not a fibrolab.modules.base.Classifier: subclass it.")
    module = call(
        build,
        "model",
        **settings,
        classes=data.classes,
        class_counts=counts.tolist(),
        image_size=config.preprocess.size,
        loss=resolved(config.loss),
        optimizer=resolved(config.optimizer),
        scheduler=resolved(config.scheduler),
        clinical=_clinical(settings["branches"], data),
        monitor=config.monitor,
        mode=config.mode,
        ordered=config.task.ordered,
    )
    if config.monitor not in module.monitors:
        raise ConfigError(
            f"monitor={config.monitor} is not logged; choose one of {', '.join(module.monitors)}."
        )
    if config.mode != (better := module.monitors[config.monitor]):
        raise ConfigError(
            f"mode={config.mode} would keep the worst epoch by monitor={config.monitor}: set mode={better}."
        )
    precision.prepare(module.network, channels_last=config.channels_last, compile=config.compile)
    return module


def _clinical(branches: dict[str, dict[str, Any]], data: LabelledData) -> dict[str, list[Any]] | None:
    """Return the clinical columns that branches take, with training mean and SD; None if there are none."""
    columns = clinical_columns(branches)
    if not columns:
        return None
    values = clinical.measured(data.manifest.table, columns)[data.split.rows(keys.TRAIN)]
    if empty := [
        name for name, known in zip(columns, ~np.isnan(values).all(axis=0), strict=True) if not known
    ]:
        raise ConfigError(
            f"No training sample of '{data.manifest.name}' has {', '.join(empty)}; leave the column out."
        )
    mean, sd = np.nanmean(values, axis=0, dtype=np.float64), np.nanstd(values, axis=0, dtype=np.float64)
    return {"columns": columns, "mean": mean.tolist(), "sd": sd.tolist()}


def build_datamodule(config: DictConfig, data: LabelledData, module: Classifier) -> FibrosisDataModule:
    """Return the datamodule over a data set, with each modality that the model takes."""
    return FibrosisDataModule(
        data=data,
        stores=checkpoint.stores(arguments(config.preprocess), module, Path(config.paths.cache)),
        segment=Segment(**resolved(config.segment)),
        transforms=resolved(config.augment)["transforms"],
        sampler=resolved(config.sampler),
        batch_size=config.batch_size,
        num_workers=config.num_workers,
        seed=config.seed,
        clinical=module.clinical_columns,
        augment_on=config.augment_on,
    )


def parameter_counts(module: Classifier) -> dict[str, int]:
    """Count all parameters, and those that train at first."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in module.parameters()]
    return {
        "parameters": sum(n for n, _ in counts),
        "parameters_trained": sum(n for n, trains in counts if trains),
    }


def fit(
    config: DictConfig,
    module: Classifier,
    datamodule: FibrosisDataModule,
    data: LabelledData,
    tracked: TrackedRun,
) -> Fitted:
    """Train, then write `predictions.csv` with the weights of the best epoch.

    Raises:
        ConfigError: `resume` is not a checkpoint to resume from, or the trainer does not accept its settings.
        SplitError: `resume` is the checkpoint of a run with another split.
        TrainingError: The loss is not finite.
        KeyboardInterrupt: Ctrl-C or SIGTERM during training.
    """
    if config.resume is not None:
        resuming.check_resumable(Path(str(config.resume)), module, tracked.folder)
    _silence_warnings()
    best, callbacks = _callbacks(config, tracked.folder)
    writer = PredictionWriter(
        tracked.folder / keys.PREDICTIONS_FILE,
        data.manifest.table,
        data.labels,
        data.split.fold,
        (keys.VALIDATION, keys.TEST),
    )
    split = tracked.folder / keys.SPLIT_FILE
    record = checkpoint.described(config, module, data, split, environment.packages())
    plugins, loggers = [checkpoint.RecordedCheckpoints(record)], trainer_parts.loggers(config, tracked.folder)
    trainer = _trainer(config, [*callbacks, writer], tracked, plugins, loggers)
    try:
        trainer.fit(module, datamodule=datamodule, ckpt_path=config.resume)
        weights = best.best_model_path or None  # a fast dev run saves none: use the current weights
        trainer.predict(module, datamodule=datamodule, ckpt_path=weights, return_predictions=False)
    except SystemExit as error:  # raised by Lightning on Ctrl-C and SIGTERM
        raise KeyboardInterrupt from error
    score = best.best_model_score
    return Fitted(None if score is None else float(score), str(trainer.strategy.root_device))


def predict(
    config: DictConfig,
    module: Classifier,
    datamodule: FibrosisDataModule,
    data: LabelledData,
    tracked: TrackedRun,
) -> str:
    """Write `predictions.csv` of the test partition without training; return the device."""
    _silence_warnings()
    path = tracked.folder / keys.PREDICTIONS_FILE
    writer = PredictionWriter(path, data.manifest.table, data.labels, data.split.fold, (keys.TEST,))
    trainer = _trainer(config, [writer], tracked)
    datamodule.prepare_data()
    trainer.predict(module, datamodule.test_dataloader(), return_predictions=False)
    return str(trainer.strategy.root_device)


def check_single_sample_batches(module: Classifier, datamodule: FibrosisDataModule) -> None:
    """If training batches hold one sample, run one: batch norm cannot normalise a single value per channel.

    Raises:
        ConfigError: The network cannot train on a batch of one sample.
    """
    datamodule.prepare_data()
    loader = datamodule.train_dataloader()
    if datamodule.batch_size > 1 < len(loader.sampler):  # type: ignore[arg-type]
        return  # batches hold more; a single last sample of an epoch is left out
    single = default_collate([loader.dataset[next(iter(loader.sampler))]])
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            module.train()(datamodule.on_after_batch_transfer(single, 0))
    except ValueError as fault:  # torch's: "Expected more than 1 value per channel when training"
        if "value per channel" not in str(fault):
            raise
        raise ConfigError(
            f"batch_size={datamodule.batch_size}: batch norm cannot train on a batch of one sample. "
            "Choose a larger one, or a model without batch norm."
        ) from fault
    finally:
        for name, value in module.named_buffers():
            value.copy_(buffers[name])


def _trainer(
    config: DictConfig,
    callbacks: list[L.Callback],
    tracked: TrackedRun,
    plugins: Sequence[Any] = (),
    loggers: Sequence[Logger] = (),
) -> L.Trainer:
    # `trainer.deterministic` would also fill every new tensor with NaN, to reveal reads of uninitialised
    # memory: 650 fills per step of a ResNet18. The code here has no such reads.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    with precision.trainer_config_errors():
        trainer = L.Trainer(
            **resolved(config.trainer),
            callbacks=callbacks,
            plugins=list(plugins),
            logger=[tracked.curves(), *loggers],
            default_root_dir=tracked.folder,
            num_sanity_val_steps=0,  # files and settings were checked before
            use_distributed_sampler=False,  # our samplers split the samples among ranks themselves
            enable_model_summary=False,
            enable_progress_bar=sys.stdout.isatty(),
        )
    if trainer.world_size > 1:
        raise ConfigError(
            f"trainer.devices={config.trainer.devices} would start {trainer.world_size} processes, each with "
            "its own run; only one process is supported so far: set trainer.devices=1."
        )
    return trainer


def _callbacks(config: DictConfig, folder: Path) -> tuple[ModelCheckpoint, list[L.Callback]]:
    best = BestCheckpoint(
        dirpath=folder / keys.CHECKPOINTS,
        enable_version_counter=False,
        filename="best",
        monitor=config.monitor,
        mode=config.mode,
        save_weights_only=True,
    )
    callbacks: list[L.Callback] = [
        History(folder, announce=not sys.stdout.isatty()),
        FiniteLoss(config.trainer.log_every_n_steps),
        RandomState(),
        PlateauMemory(),
        best,
    ]
    averaging = build_averaging(resolved(config.averaging), config.trainer.max_epochs)
    if averaging is not None:
        callbacks.append(averaging)
    callbacks += trainer_parts.callbacks(config, folder)
    if sys.stdout.isatty():
        callbacks.append(RichProgressBar())
    return best, callbacks


def _silence_warnings() -> None:
    """Silence Lightning's warnings about settings that are chosen on purpose."""
    for text in (
        ".*does not have many workers.*",
        ".*number of training batches.*",
        ".*Checkpoint directory .* exists.*",
        ".*pin_memory.*",
        ".*LeafSpec.*",  # Lightning 2.6 with torch 2.14
        ".*in eval mode at the start of training.*",  # frozen backbones stay in eval mode
    ):
        warnings.filterwarnings("ignore", text)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
