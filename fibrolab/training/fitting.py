"""Build and train one Lightning module, on one rank or several, and predict with it."""

import logging
import random
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from torch.utils.data import default_collate

from fibrolab import environment, keys
from fibrolab.callbacks.averaging import build_averaging
from fibrolab.callbacks.curve_logger import CurveLogger
from fibrolab.callbacks.history import History
from fibrolab.callbacks.mask_writer import MaskWriter
from fibrolab.callbacks.prediction_writer import PredictionWriter
from fibrolab.callbacks.pruning import Pruning
from fibrolab.callbacks.stopping_and_resuming import BestCheckpoint, FiniteLoss
from fibrolab.config import arguments, resolved
from fibrolab.data import masks
from fibrolab.data.clip_sampling import Segment
from fibrolab.data.datamodule import FibrosisDataModule
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.preprocess import SEGMENTER, Preprocess
from fibrolab.data.samplers import check_batch_size, this_rank
from fibrolab.errors import ConfigError, TrainingError
from fibrolab.evaluation import predictions
from fibrolab.modules.base import TrainedModule
from fibrolab.runs import checkpoint, training_record
from fibrolab.sweeps.jobs import Trial
from fibrolab.training import (
    batch_size,
    devices,
    frozen_features,
    precision,
    rank_messages,
    rank_strategy,
    ranks,
    trainer_parts,
)
from fibrolab.training.checkpoint_writing import RecordedCheckpoints

if TYPE_CHECKING:
    from fibrolab.tracked_run import TrackedRun  # late: it loads MLflow, which ranks do not need

logger = logging.getLogger(__name__)
REQUEUE = "requeue"  # of `trainer`, which Lightning's Trainer does not take


@dataclass(frozen=True)
class Fitted:
    """Result of a training.

    Attributes:
        best: Best value of the monitored metric; None after a fast dev run and without validation.
        device: Device, and number of ranks if there are several.
        batch_size: Samples of a batch of all ranks.
        pruned: Whether it is a trial that was ended early; it then has predicted nothing.
    """

    best: float | None
    device: str
    batch_size: int
    pruned: bool = False


class RunOfRanks(NamedTuple):
    """The run on its ranks: its folder, and its curves, which the process that tracks it writes."""

    folder: Path
    id: str
    experiment_id: str

    def add_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """See `TrackedRun.add_metrics`."""
        rank_messages.tell(("add_metrics", {name: float(value) for name, value in values.items()}, step))

    def deliver(self) -> None:
        """See `TrackedRun.deliver`."""
        rank_messages.tell(("deliver",))

    def log_params(self, settings: Mapping[str, Any]) -> None:
        """See `TrackedRun.log_params`."""
        rank_messages.tell(("log_params", dict(settings)))


def build_datamodule(
    config: DictConfig, data: LabelledData, module: TrainedModule, tests: bool = True
) -> FibrosisDataModule:
    """Return the datamodule over a data set, with each modality that the model takes.

    Args:
        config: `conf/train.yaml`, composed.
        data: The data set and its split.
        module: The module.
        tests: Whether the test samples are predicted; a trial of a study predicts no more than validation.
    """
    given = config.batch_size != batch_size.AUTO  # otherwise decided later
    wanted = keys.PARTITIONS if config.get("predict_train") else predictions.PARTITIONS
    predicted = [name for name in wanted if len(data.split.rows(name))]  # there may be no validation
    preprocess = arguments(config.preprocess, SEGMENTER)
    return FibrosisDataModule(
        data=data,
        stores=checkpoint.stores(preprocess, module, Path(config.paths.cache), learns=True),
        segment=Segment(**resolved(config.segment)),
        transforms=resolved(config.augment)["transforms"],
        sampler=resolved(config.sampler),
        batch_size=config.batch_size if given else batch_size.USUAL * devices.wanted(config.trainer),
        num_workers=config.num_workers,
        seed=config.seed,
        clinical=module.clinical_columns,
        augment_on=config.augment_on,
        predicted=predicted if tests else (keys.VALIDATION,),
    )


def decide_batch_size(
    config: DictConfig,
    module: TrainedModule,
    datamodule: FibrosisDataModule,
    tracked: "TrackedRun | RunOfRanks",
) -> None:
    """Replace `batch_size=auto` by the largest batch that fits, in config, datamodule and MLflow.

    Raises:
        ConfigError: Not even two samples fit on the device.
    """
    if config.batch_size != batch_size.AUTO:
        return
    rank, number = this_rank()
    chosen = config.trainer.devices
    alone = chosen[0] if isinstance(chosen, Sequence) and chosen != "auto" else None
    device = torch.device("cuda", (alone if number == 1 else ranks.device()) or 0)
    found = batch_size.largest_batch(module, datamodule, device, config.trainer.precision)
    if number > 1:
        least = torch.tensor(found, device=device)
        torch.distributed.all_reduce(least, torch.distributed.ReduceOp.MIN)
        found = number * int(least)
    config.batch_size = datamodule.batch_size = found
    if rank == 0:
        print(
            f"batch_size=auto: batches of {found} fit on {torch.cuda.get_device_name(device)}. "
            f"optimizer.lr={config.optimizer.lr} was chosen for batches of {batch_size.USUAL}: tune it."
        )
        tracked.log_params({"batch_size": found})


def parameter_counts(module: TrainedModule) -> dict[str, int]:
    """Count all parameters, and those that train at first."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in module.parameters()]
    return {
        "parameters": sum(n for n, _ in counts),
        "parameters_trained": sum(n for n, trains in counts if trains),
    }


def train(
    config: DictConfig,
    module: TrainedModule,
    datamodule: FibrosisDataModule,
    data: LabelledData,
    tracked: "TrackedRun",
    trial: Trial | None = None,
) -> Fitted:
    """Train on as many ranks as the trainer's devices, then write `predictions.csv`.

    Args:
        config: `conf/train.yaml`, composed.
        module: The module.
        datamodule: Its data.
        data: The data set and its split.
        tracked: The run.
        trial: Trial of a study that is told each epoch's monitored value, and may be ended by it.

    Raises:
        FibrolabError: See `fit`; or ranks cannot share this data and batch, or one of them has ended.
        KeyboardInterrupt: Ctrl-C or SIGTERM during training.
    """
    datamodule.prepare_data()
    number = devices.wanted(config.trainer)
    if number == 1:
        return _run_frozen_and_fit(config, module, datamodule, data, tracked, trial=trial)
    datamodule.check_ranks(number)
    size = datamodule.batch_size
    logger.info("%d ranks of %d samples = batches of %d.", number, size // number, size)
    search = rank_strategy.may_skip_parameters(module, datamodule)
    built = (type(module), dict(module.hparams), module.state_dict(), torch.get_rng_state())
    run = RunOfRanks(tracked.folder, tracked.id, tracked.experiment_id)
    given = (config, built, datamodule, data, run, search, trial)

    def told(call: tuple[Any, ...]) -> None:
        name, *values = call
        getattr(tracked, name)(*values)

    return ranks.run(_on_rank, given, config.trainer, Path(config.paths.cache) / "jobs", told)


def _on_rank(
    config: DictConfig,
    built: tuple[type[TrainedModule], dict[str, Any], dict[str, Any], torch.Tensor],
    datamodule: FibrosisDataModule,
    data: LabelledData,
    tracked: "TrackedRun | RunOfRanks",
    search_unused: bool,
    trial: Trial | None = None,
) -> Fitted:
    """Train as one of several ranks, see `train`; the module is built again, as from a checkpoint."""
    kind, hparams, state, random_state = built
    module = kind(**hparams)
    module.load_state_dict(state)
    precision.prepare(module.network, channels_last=config.channels_last, compile=config.compile)
    rank, number = this_rank()
    _seed(config.seed, rank)
    if rank == 0:
        torch.set_rng_state(random_state)  # that of a single process
    datamodule.share_cores(ranks.local_size())
    fitted = _run_frozen_and_fit(config, module, datamodule, data, tracked, search_unused, trial)
    return replace(fitted, device=f"{number} x {fitted.device}")


def _seed(seed: int, rank: int) -> None:
    """Seed the generators of Python, NumPy and torch; each rank draws other dropout masks."""
    own = seed if rank == 0 else int(np.random.SeedSequence([seed, rank]).generate_state(1)[0])
    random.seed(own)
    np.random.seed(own)  # noqa: NPY002
    torch.manual_seed(own)


def _run_frozen_and_fit(
    config: DictConfig,
    module: TrainedModule,
    datamodule: FibrosisDataModule,
    data: LabelledData,
    tracked: "TrackedRun | RunOfRanks",
    search_unused: bool = False,
    trial: Trial | None = None,
) -> Fitted:
    """Run frozen branches once, then train."""
    if config.features.cache:
        frozen_features.cache_features(
            module,
            datamodule,
            cache=Path(config.paths.cache),
            views=config.features.views,
            accelerator=config.trainer.accelerator,
            precision=config.trainer.precision,
        )
    decide_batch_size(config, module, datamodule, tracked)
    check_single_sample_batches(module, datamodule)
    check_validated(config, datamodule)
    with frozen_features.one_thread() if datamodule.serves_features_only else nullcontext():
        return fit(config, module, datamodule, data, tracked, search_unused, trial)


def fit(
    config: DictConfig,
    module: TrainedModule,
    datamodule: FibrosisDataModule,
    data: LabelledData,
    tracked: "TrackedRun | RunOfRanks",
    search_unused: bool = False,
    trial: Trial | None = None,
) -> Fitted:
    """Train, then write `predictions.csv` with the weights of the best epoch; without validation the last.

    If the run's folder holds a checkpoint of its last state, the training goes on from there.

    Args:
        config: `conf/train.yaml`, composed.
        module: The module.
        datamodule: Its data.
        data: The data set and its split.
        tracked: Where the files of the run and its curves go.
        search_unused: Whether ranks look for parameters without a gradient in each step.
        trial: Trial of a study that may end the training.

    Raises:
        ConfigError: The trainer does not accept its settings.
        TrainingError: The loss is not finite, or the memory is full.
        KeyboardInterrupt: Ctrl-C or SIGTERM during training.
    """
    checkpoint.silence_warnings()
    folder = tracked.folder
    validates = data.split.has_validation
    best, callbacks = _callbacks(config, folder, validates)
    pruning = _pruning(config, trial)
    writer = _writer(config, datamodule, folder)
    split = folder / keys.SPLIT_FILE
    record = training_record.described(config, module, data, split, environment.packages())
    if gaps := training_record.gaps(module, data):
        logger.warning("%s", gaps)
    loggers = [CurveLogger(tracked), *trainer_parts.loggers(config, folder)]
    segmenter = folder / keys.CHECKPOINTS / keys.SEGMENTER
    checkpoints = RecordedCheckpoints(record, segmenter, waits=trainer_parts.uploads_checkpoints(config))
    callbacks += [*pruning, writer]
    trainer = _trainer(config, callbacks, loggers, folder, [checkpoints], search_unused, validates)
    try:
        last = folder / keys.CHECKPOINTS / keys.LAST
        trainer.fit(module, datamodule=datamodule, ckpt_path=last if last.is_file() else None)
        weights = best.best_model_path or None  # a fast dev run saves none: use the current weights
        if not (pruned := any(each.pruned for each in pruning)):
            trainer.predict(module, datamodule=datamodule, ckpt_path=weights, return_predictions=False)
    except MisconfigurationException as error:  # such as a metric that these settings never compute
        raise ConfigError(f"The trainer does not accept its settings (trainer.*): {error}") from error
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"The memory of the GPU is full with batch_size={config.batch_size}: choose a smaller one, "
            "trainer.accumulate_grad_batches for the same steps, or trainer.precision=bf16-mixed."
        ) from error
    except SystemExit as error:  # raised by Lightning on Ctrl-C and SIGTERM
        raise KeyboardInterrupt from error
    finally:
        checkpoints.teardown()  # Lightning does not call it where its own end of the training fails
    score = best.best_model_score
    best_value = None if score is None else float(score)
    return Fitted(best_value, str(trainer.strategy.root_device), datamodule.batch_size, pruned)


def _writer(config: DictConfig, datamodule: FibrosisDataModule, folder: Path) -> L.Callback:
    """Return the callback that writes the predictions of classes, or of masks."""
    data, partitions = datamodule.data, datamodule.predicted
    if (classes := data.masks) is None:
        path, table = folder / keys.PREDICTIONS_FILE, data.manifest.table
        return PredictionWriter(path, table, data.labels, data.split.fold, partitions)
    learnt = datamodule.pixels(keys.MASK, data.split.rows(keys.TRAIN))
    levels = (learnt.read(index, None)[0] for index in range(len(learnt.slots.first)))
    baseline = masks.mean_mask(levels, classes)
    preprocess = Preprocess(**arguments(config.preprocess, SEGMENTER))
    return MaskWriter(folder, data, classes, preprocess, data.split.fold, partitions, baseline)


def predict(
    config: DictConfig,
    module: TrainedModule,
    datamodule: FibrosisDataModule,
    data: LabelledData,
    tracked: "TrackedRun",
) -> str:
    """Write `predictions.csv` of the test partition without training; return the device."""
    checkpoint.silence_warnings()
    path = tracked.folder / keys.PREDICTIONS_FILE
    writer = PredictionWriter(path, data.manifest.table, data.labels, data.split.fold, (keys.TEST,))
    trainer = _trainer(config, [writer], [CurveLogger(tracked)], tracked.folder)
    datamodule.prepare_data()
    trainer.predict(module, datamodule.test_dataloader(), return_predictions=False)
    return str(trainer.strategy.root_device)


def check_single_sample_batches(module: TrainedModule, datamodule: FibrosisDataModule) -> None:
    """If training batches hold one sample, run one: batch norm cannot normalise a single value per channel.

    Raises:
        ConfigError: The network cannot train on a batch of one sample.
    """
    datamodule.prepare_data()
    loader = datamodule.train_dataloader()
    if loader.batch_size > 1 < len(loader.sampler):  # type: ignore[arg-type,operator]
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


def check_validated(config: DictConfig, datamodule: FibrosisDataModule) -> None:
    """Refuse a training that ends before its first validation.

    Raises:
        ConfigError: It has fewer iterations than `trainer.val_check_interval`.
    """
    interval = config.trainer.get("val_check_interval")
    if interval is None or config.trainer.fast_dev_run:
        return
    iterations = len(datamodule.train_dataloader()) * config.trainer.max_epochs
    if iterations < interval:
        raise ConfigError(
            f"trainer.val_check_interval={interval}: the training ends after {iterations} iterations, before "
            "its first validation. Choose a smaller interval."
        )


def check_trainer(config: DictConfig) -> None:
    """Refuse settings that Lightning's Trainer does not accept, by building one for a single device.

    Raises:
        ConfigError: It does not accept them, there are no such devices, or they cannot share a batch.
    """
    checkpoint.silence_warnings()
    devices.check(resolved(config)["trainer"])
    if config.batch_size != batch_size.AUTO:
        check_batch_size(config.batch_size, devices.wanted(config.trainer))
    _trainer(config, [], [], Path())


def _trainer(
    config: DictConfig,
    callbacks: list[L.Callback],
    loggers: list[Logger],
    folder: Path,
    plugins: Sequence[Any] = (),
    search_unused: bool = False,
    validates: bool = True,
) -> L.Trainer:
    # `trainer.deterministic` would also fill every new tensor with NaN, to reveal reads of uninitialised
    # memory: 650 fills per step of a ResNet18. The code here has no such reads.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    with precision.trainer_config_errors():
        trainer = L.Trainer(
            **arguments(config.trainer, REQUEUE)
            | _parallel(config, search_unused)
            | _validation(config, validates),
            callbacks=callbacks,
            plugins=[*plugins, *rank_strategy.environment()],
            logger=loggers,
            default_root_dir=folder,
            num_sanity_val_steps=0,  # files and settings were checked before
            use_distributed_sampler=False,  # our samplers split the samples among ranks themselves
            enable_model_summary=False,
            enable_progress_bar=sys.stdout.isatty(),
        )
    return trainer


def _validation(config: DictConfig, validates: bool) -> dict[str, Any]:
    """Return the arguments of the Trainer by which it validates each epoch, every few iterations or never."""
    if not validates:
        return {"limit_val_batches": 0}
    return {"check_val_every_n_epoch": None} if config.trainer.get("val_check_interval") else {}


def _parallel(config: DictConfig, search_unused: bool) -> dict[str, Any]:
    """Return the arguments of the Trainer for this rank, or for the only process."""
    _, number = this_rank()
    if number > 1:
        strategy = rank_strategy.RankStrategy(find_unused_parameters=search_unused)
        own: int | list[int] = 1 if (gpu := ranks.device()) is None else [gpu]
        return {"strategy": strategy, "devices": own, "num_nodes": number}  # see `ranks`
    alone = devices.wanted(config.trainer) == 1
    return {"strategy": "auto", "num_nodes": 1} | ({} if alone else {"devices": 1})


def _callbacks(config: DictConfig, folder: Path, validates: bool) -> tuple[ModelCheckpoint, list[L.Callback]]:
    """Return the callback that keeps the best epoch, without validation the last, and all callbacks."""
    best = BestCheckpoint(
        dirpath=folder / keys.CHECKPOINTS,
        enable_version_counter=False,
        filename="best",
        monitor=config.monitor if validates else None,
        mode=config.mode,
        save_weights_only=True,
    )
    callbacks: list[L.Callback] = [
        History(folder, announce=not sys.stdout.isatty()),
        FiniteLoss(config.trainer.log_every_n_steps),
        best,
    ]
    averaging = build_averaging(resolved(config.averaging), config.trainer.max_epochs)
    if averaging is not None:
        callbacks.append(averaging)
    callbacks += trainer_parts.callbacks(config, folder)
    if sys.stdout.isatty():
        callbacks.append(RichProgressBar())
    return best, callbacks


def _pruning(config: DictConfig, trial: Trial | None) -> list[Pruning]:
    """Return the callback that may end a trial; none for any other training."""
    if trial is None:
        return []
    from fibrolab.sweeps.trial_reports import TrialReports  # late: it loads Optuna

    return [Pruning(config.monitor, TrialReports(trial))]
