"""Build the Lightning module that the settings describe, or refuse the settings before any data is read."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightning as L
import numpy as np
from omegaconf import DictConfig

from fibrolab import keys
from fibrolab.choices import refuse, refuse_all
from fibrolab.config import arguments, resolved
from fibrolab.data import clinical
from fibrolab.data.labelled_data import LabelledData
from fibrolab.errors import ConfigError
from fibrolab.losses import LOSSES, build_loss
from fibrolab.mask_classes import of_task
from fibrolab.models import fusion
from fibrolab.models.branches import clinical_columns
from fibrolab.modules import optimizers
from fibrolab.modules.base import Classifier, TrainedModule, default_metrics, monitored
from fibrolab.modules.segmenter import Segmenter, default_mask_metrics
from fibrolab.pixel_losses import PIXEL_LOSSES, build_pixel_loss
from fibrolab.targets import call, check_call, imported
from fibrolab.training import precision


def build_module(config: DictConfig, data: LabelledData) -> TrainedModule:
    """Build the Lightning module that `model._target_` names; the seed determines its random weights.

    Raises:
        ConfigError: A setting is invalid, `monitor` is not a metric of the module, or `mode` does not match
            it.
        WeightsError: A branch's weights cannot be found or downloaded, or do not fit.
    """
    L.seed_everything(config.seed, workers=True, verbose=False)
    counts = np.bincount(data.labels[data.split.rows(keys.TRAIN)], minlength=len(data.classes))
    given = _module_arguments(config, data.classes, counts.tolist(), _clinical(config, data))
    module: TrainedModule = call(module_class(config), "model", **given)
    _check_monitor(config, module.monitors)
    precision.check_network(module.network, config.trainer.precision, config.trainer.accelerator)
    precision.prepare(module.network, channels_last=config.channels_last, compile=config.compile)
    return module


def module_class(config: DictConfig) -> type[TrainedModule]:
    """Import the class that `model._target_` names.

    Raises:
        ConfigError: It cannot be imported, is neither a `Classifier` nor a `Segmenter`, or does not suit the
            task.
    """
    target = config.model.get("_target_")
    build = imported(target, "model._target_")
    if not (isinstance(build, type) and issubclass(build, Classifier | Segmenter)):
        raise ConfigError(
            f"model._target_={target} is not a fibrolab.modules.base.Classifier: subclass it, or "
            "fibrolab.modules.segmenter.Segmenter."
        )
    segments = of_task(config.task) is not None
    if issubclass(build, Segmenter) != segments:
        other = "a model of masks, such as model=unet" if segments else "task=segmentation"
        raise ConfigError(f"model={config.model.name} does not suit task={config.task.name}: use {other}.")
    return build


def check_module(config: DictConfig) -> None:
    """Refuse settings with which `build_module` would fail with any data; no network is built.

    What a model of the user's own overrides is not checked here.

    Raises:
        ConfigError: All faults at once.
    """
    build = module_class(config)
    if issubclass(build, Segmenter):
        _check_segmenter(config, build)
    elif issubclass(build, Classifier):
        _check_classifier(config, build)


def _check_classifier(config: DictConfig, build: type[Classifier]) -> None:
    model, task = resolved(config.model), config.task
    classes = list(task.classes or ("no", "yes"))  # those of a nominal task are known with the data
    counts = [1] * len(classes)
    optimizer, scheduler = resolved(config.optimizer), resolved(config.scheduler)
    attempts: list[Callable[[], object]] = [
        lambda: check_call(build, "model", **_module_arguments(config, classes, counts, None)),
        lambda: build.check_branches(model["branches"]),
    ]
    if build.build_network is Classifier.build_network:
        attempts.append(lambda: fusion.check(model["branches"], model["head"], model.get("fusion")))
    if build.build_loss is Classifier.build_loss:
        loss = {"class_counts": counts, "classes": classes, "ordered": task.ordered, **resolved(config.loss)}
        attempts.append(lambda: build_loss(num_classes=len(classes), **_of(loss, "samples")))
    if build.build_metrics is Classifier.build_metrics:
        metrics = {f"val/{name}": each for name, each in default_metrics(len(classes), task.ordered).items()}
        attempts.append(lambda: _check_monitor(config, monitored(metrics)))
    if build.configure_optimizers is Classifier.configure_optimizers:
        attempts.append(lambda: optimizers.check(optimizer, scheduler, config.trainer.max_epochs))
    refuse([fault for name, branch in model["branches"].items() for fault in _not_a_branch(name, branch)])
    refuse_all(attempts)


def _check_segmenter(config: DictConfig, build: type[Segmenter]) -> None:
    model = resolved(config.model)
    masks = of_task(config.task)
    assert masks is not None, "checked by module_class"
    metrics = {f"val/{name}": each for name, each in default_mask_metrics().items()}
    attempts: list[Callable[[], object]] = [
        lambda: check_call(build, "model", **_module_arguments(config, masks.names, [], None)),
        lambda: optimizers.check(
            resolved(config.optimizer), resolved(config.scheduler), config.trainer.max_epochs
        ),
    ]
    if build.build_network is Segmenter.build_network:
        attempts.append(lambda: build.check_network(model["network"]))
    if build.build_loss is Segmenter.build_loss:
        loss = resolved(config.loss)
        attempts.append(lambda: build_pixel_loss(classes=masks.names, **_of(loss, "pixels")))
    if build.build_metrics is Segmenter.build_metrics:
        attempts.append(lambda: _check_monitor(config, monitored(metrics)))
    refuse_all(attempts)


def _of(loss: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the settings of a loss.

    Args:
        loss: Settings of `conf/loss`.
        kind: `samples` or `pixels`: what the task classifies.

    Raises:
        ConfigError: It is a loss of the other kind.
    """
    known = {"samples": LOSSES, "pixels": PIXEL_LOSSES}
    of = next((name for name, losses in known.items() if loss["name"] in losses), kind)
    if of != kind and not loss.get("_target_"):
        raise ConfigError(
            f"loss={loss['name']} is a loss of {of}, and this task classifies {kind}: use one of "
            f"{', '.join(sorted(known[kind]))}."
        )
    return loss


def _not_a_branch(name: str, settings: object) -> Iterator[str]:
    if not isinstance(settings, Mapping):
        yield f"model.branches.{name} is empty; leave it out with ~model.branches.{name}."


def _module_arguments(
    config: DictConfig, classes: list[str], counts: list[int], clinical: dict[str, list[Any]] | None
) -> dict[str, Any]:
    """Return the arguments of a `Classifier` or a `Segmenter`."""
    given = arguments(config.model, "_target_") | {
        "classes": classes,
        "image_size": config.preprocess.size,
        "loss": resolved(config.loss),
        "optimizer": resolved(config.optimizer),
        "scheduler": resolved(config.scheduler),
        "monitor": config.monitor,
        "mode": config.mode,
    }
    if masks := of_task(config.task):
        levels = {name: list(each) for name, each in masks.levels.items()}
        return given | {"classes": masks.names, "levels": levels, "ignore": masks.ignore}
    return given | {"class_counts": counts, "clinical": clinical, "ordered": config.task.ordered}


def _check_monitor(config: DictConfig, monitors: Mapping[str, str]) -> None:
    """Refuse a metric that is not logged or monitored for its worst value, also of Lightning's callbacks."""
    if config.monitor not in monitors:
        raise ConfigError(f"monitor={config.monitor} is not logged; choose one of {', '.join(monitors)}.")
    if config.mode != (better := monitors[config.monitor]):
        raise ConfigError(
            f"mode={config.mode} would keep the worst epoch by monitor={config.monitor}: set mode={better}."
        )
    for name, entry in resolved(config.callbacks).items():
        of_lightning = isinstance(entry, Mapping) and str(entry.get("_target_")).startswith("lightning.")
        if of_lightning and (own := entry.get("monitor")) is not None and own not in monitors:
            raise ConfigError(
                f"callbacks.{name}.monitor={own} is not logged; choose one of {', '.join(monitors)}."
            )


def _clinical(config: DictConfig, data: LabelledData) -> dict[str, list[Any]] | None:
    """Return the clinical columns that branches take, with training mean and SD; None if there are none."""
    columns = clinical_columns(resolved(config.model).get("branches", {}))
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
