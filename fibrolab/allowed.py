"""Allowed values of the settings in `conf/`, checked before data are read and torch is imported."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

LARGEST_SEED = 2**32 - 1  # of NumPy's and Lightning's seeds
OURS = ("fibrolab.", "lightning.")  # packages whose classes and functions have the settings named below
EXPLANATIONS = (  # methods of `fibrolab.explanation.attribution`
    "gradcam", "gradcam_pp", "layercam", "integrated_gradients", "occlusion", "attention_rollout",
)  # fmt: skip
SHOWN = 80  # characters of a value that a sentence repeats


class Allowed(NamedTuple):
    """Allowed values of a setting.

    Attributes:
        words: Description, to follow "X=VALUE is not".
        holds: Whether a value is allowed.
    """

    words: str
    holds: Callable[[Any], bool]


def whole(least: int, most: int | None = None) -> Allowed:
    """Allow whole numbers from `least` to `most`."""
    upper = math.inf if most is None else most
    words = f"a whole number from {least}" + ("" if most is None else f" to {most}")
    return Allowed(words, lambda value: _is_whole(value) and least <= value <= upper)


def number(words: str, holds: Callable[[float], bool]) -> Allowed:
    """Allow finite numbers for which a condition holds."""
    return Allowed(words, lambda value: _is_number(value) and math.isfinite(value) and holds(value))


def one_of(*names: str) -> Allowed:
    """Allow these words."""
    return Allowed(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names)


def one_or_several(*names: str) -> Allowed:
    """Allow one of these words, or a list of different ones."""

    def holds(value: object) -> bool:
        given = value if isinstance(value, list) else [value]
        return bool(given) and set(map(str, given)) <= set(names) and len(set(map(str, given))) == len(given)

    return Allowed(f"one or a list of {', '.join(names)}", holds)


def or_null(allowed: Allowed) -> Allowed:
    """Allow null in addition."""
    return Allowed(f"{allowed.words}, or null", lambda value: value is None or allowed.holds(value))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_name(value: object) -> bool:
    return (isinstance(value, str) and value.strip() != "") or _is_whole(value)


def _are_names(value: object) -> bool:
    named = isinstance(value, list) and len(value) > 1 and all(map(_is_name, value))
    return named and len(set(map(str, value))) == len(value)  # type: ignore[arg-type,call-overload]


def _is_name_or_names(value: object) -> bool:
    return _is_name(value) or (_are_ids(value) and value != [])


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_name, value)) and len(set(map(str, value))) == len(value)


def _are_columns(value: object) -> bool:
    return isinstance(value, Mapping) and all(name is None or _is_name(name) for name in value.values())


def _are_end_points(value: object) -> bool:
    return isinstance(value, Mapping) and all(_is_whole(lowest) and lowest > 0 for lowest in value.values())


def _are_levels(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(each, list | int) for each in value.values())


def _are_devices(value: object) -> bool:
    if isinstance(value, list):
        return len(value) > 0 and all(map(whole(0).holds, value)) and len(set(value)) == len(value)
    return value == "auto" or whole(1).holds(value)


def _are_widths(value: object) -> bool:
    return isinstance(value, list) and all(width == "classes" or WIDTH.holds(width) for width in value)


def _is_pattern(value: object) -> bool:
    try:
        return isinstance(value, str) and re.compile(value).groups > 0
    except re.error:
        return False


POSITIVE = number("a number above 0", lambda value: value > 0)
FROM_0 = number("a number from 0", lambda value: value >= 0)
OPEN = number("a number between 0 and 1", lambda value: 0 < value < 1)
PROPORTION = number("a number from 0 to 1", lambda value: 0 <= value <= 1)
BELOW_1 = number("a number from 0 to below 1", lambda value: 0 <= value < 1)
ABOVE_0 = number("a number above 0 and up to 1", lambda value: 0 < value <= 1)
SEED = whole(0, LARGEST_SEED)
WIDTH = whole(1, 2**16)
TEXT = Allowed("text", _is_name)
PLACE = Allowed(  # a number has to be in quotes, as it is for Python
    "the name of a file or folder", lambda value: isinstance(value, str) and value.strip() != ""
)
NAMES = Allowed("a list of two or more different names, such as [F0, F1, F2, F3, F4]", _are_names)
INITIAL = Allowed("auto, true or false", lambda value: value == "auto" or isinstance(value, bool))
BATCHES = Allowed(
    "a whole number of batches from 1, or a proportion such as 0.5",
    lambda value: whole(1).holds(value) or (isinstance(value, float) and ABOVE_0.holds(value)),
)

ALLOWED: dict[str, Allowed] = {  # by the name of the setting; * stands for any part of it
    "name": TEXT,
    "seed": SEED,
    "mode": one_of("min", "max"),
    "monitor": TEXT,
    "pretrained": INITIAL,
    "batch_size": Allowed(
        "auto or a whole number from 1", lambda value: value == "auto" or whole(1).holds(value)
    ),
    "num_workers": Allowed(
        "auto or a number of processes from 0 to 1024",
        lambda value: value == "auto" or whole(0, 1024).holds(value),
    ),
    "augment_on": one_of("workers", "device"),
    "folds": or_null(Allowed("all", lambda value: value == "all")),
    "repeats": whole(1, 1000),
    "resume": or_null(TEXT),
    "tuned_by": or_null(Allowed("a list of run ids, such as [ID,ID]; [] for none", _are_ids)),
    "features.views": or_null(whole(1, 1000)),
    "privacy.ids": one_of("plain", "hashed"),
    "bootstrap.resamples": whole(2, 10**6),
    "bootstrap.level": OPEN,
    "markers": or_null(Allowed("a name or a list of names, such as [lsm, fib4]", _is_name_or_names)),
    "cutoffs.folds": whole(2, 1000),
    "level": OPEN,
    "paths.*": PLACE,
    "tracking.uri": PLACE,
    "tracking.experiment": TEXT,
    "tracking.artifacts": PLACE,
    "folder": PLACE,
    "input": or_null(Allowed("a path or a list of different paths", _is_name_or_names)),
    "coverage": OPEN,
    "alias": or_null(Allowed("a name or a list of names, such as champion", _is_name_or_names)),
    "format": one_of("onnx", "torch_export", "mlflow", "bundle"),
    "host": TEXT,
    "port": whole(1, 65535),
    "keep": or_null(PLACE),
    "readings": or_null(PLACE),
    "limits.megabytes": whole(1, 2**20),
    "limits.files": whole(1, 1000),
    "partition": one_of("test", "validation"),
    "samples": or_null(whole(1)),
    "explain.method": one_or_several(*EXPLANATIONS),
    "explain.branch": or_null(Allowed("a name or a list of names", _is_name_or_names)),
    "explain.layer": or_null(TEXT),
    "explain.target": Allowed("text", lambda value: value is True or _is_name(value)),  # `true` is one
    "explain.mask_rule": one_of("maximum", "percentile", "otsu", "random_walker"),
    "explain.mask_threshold": Allowed(
        "a number between 0 and 1, or chosen", lambda value: value == "chosen" or OPEN.holds(value)
    ),
    "explain.true_levels": or_null(
        Allowed(
            "a list of grey levels from 1 to 255",
            lambda value: isinstance(value, list) and value != [] and all(map(whole(1, 255).holds, value)),
        )
    ),
    "penalty": POSITIVE,
    # data
    "data.path": PLACE,
    "data.run": TEXT,
    "data.root": or_null(PLACE),
    "data.image_size": whole(8, 4096),
    "data.classes": or_null(NAMES),
    "data.columns": Allowed("a mapping of our columns to those of the table", _are_columns),
    "data.label_from": or_null(TEXT),
    "data.on_unreadable": one_of("error", "skip"),
    "data.decode.colour": or_null(one_of("rgb", "ycbcr")),
    "data.decode.planes": or_null(one_of("by_pixel", "by_plane")),
    "data.decode.bits": or_null(whole(8, 16)),
    "data.patient": or_null(Allowed(r"a regular expression with a group, such as (P\d+)_", _is_pattern)),
    "data.top_kpa": POSITIVE,
    "data.patients": whole(15, 10**5),  # synthetic ones
    "data.images_per_patient": whole(1, 1000),
    "data.size": whole(32, 4096),
    "data.frames": whole(2, 10**4),
    "data.seed": SEED,
    "data.separability": PROPORTION,
    "data.duplicates": PROPORTION,
    "data.leak": PROPORTION,
    "data.shortcut": PROPORTION,
    "data.marker": PROPORTION,
    "data.missing": BELOW_1,
    "data.format": one_of("png", "dicom"),
    "segment.fps": or_null(POSITIVE),
    "task.classes": or_null(NAMES),
    "task.of": or_null(NAMES),
    "task.merge": or_null(
        Allowed(
            "a list of the numbers of classes, from 0",
            lambda value: isinstance(value, list) and all(map(whole(0).holds, value)),
        )
    ),
    "task.ignore": or_null(whole(0, 255)),
    "task.levels": or_null(Allowed("a mapping of classes to grey levels, such as {liver: [1]}", _are_levels)),
    "task.endpoints": Allowed("a mapping of end points to their lowest positive class", _are_end_points),
    "split.test": OPEN,
    "split.val": BELOW_1,
    "split.folds": whole(2, 10**5),
    "split.fold": whole(0),
    "split.seed": SEED,
    "split.site": TEXT,
    "split.path": PLACE,
    "split.column": TEXT,
    "augment.transforms": Allowed(
        "a list of settings, such as [{name: HorizontalFlip}]",
        lambda value: isinstance(value, list) and all(isinstance(each, Mapping) for each in value),
    ),
    # network and loss
    "model.branches.*.input": one_of("image", "elastogram", "clip", "clinical"),
    "model.branches.*.name": TEXT,
    "model.branches.*.pretrained": INITIAL,
    "model.branches.*.weights": or_null(PLACE),
    "model.branches.*.pooling": one_of("native", "avg", "max", "flatten"),
    "model.branches.*.freeze": TEXT,
    "model.branches.*.unfreeze_every": whole(1),
    "model.branches.*.scaling": one_of("backbone", "unit"),
    "model.branches.*.columns": Allowed(
        "a list of names, such as [lsm_kpa]",
        lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    ),
    "model.branches.*.hidden": Allowed("a list of widths, such as [16]", _are_widths),
    "model.branches.*.frames.units": WIDTH,
    "model.branches.*.frames.layers": whole(1, 100),
    "model.fusion.width": WIDTH,
    "model.fusion.modality_dropout": BELOW_1,
    "model.head.hidden": Allowed(f"a list of widths up to {2**16}, or of the word classes", _are_widths),
    "model.head.dropout": BELOW_1,
    "model.head.input_dropout": BELOW_1,
    "model.head.activation": one_of("relu", "none"),
    "loss.class_weights": one_of("none", "balanced"),
    "loss.label_smoothing": BELOW_1,
    "loss.gamma": FROM_0,
    "loss.sharpness": POSITIVE,
    "loss.alpha": BELOW_1,
    "model.network.dropout": BELOW_1,
    "model.network.residual_units": whole(0, 10),
    # training
    "sampler.per_class": or_null(whole(1, 10**6)),
    "sampler.times": whole(1, 1000),
    "optimizer.lr": number("a number above 0, such as 1e-3", lambda value: value > 0),
    "optimizer.weight_decay": FROM_0,
    "optimizer.momentum": BELOW_1,
    "optimizer.layer_decay": ABOVE_0,
    "scheduler.gamma": ABOVE_0,
    "scheduler.factor": OPEN,
    "scheduler.step_size": whole(1),
    "scheduler.patience": whole(0),
    "scheduler.warmup_epochs": whole(0),
    "averaging.decay": BELOW_1,
    "averaging.start": BELOW_1,
    "trainer.accelerator": TEXT,
    "trainer.devices": Allowed(
        "a number of devices from 1, auto, or a list of different GPUs such as [0,2]", _are_devices
    ),
    "trainer.sync_batchnorm": Allowed("true or false", lambda value: isinstance(value, bool)),
    "trainer.max_epochs": whole(1),
    "trainer.accumulate_grad_batches": whole(1),
    "trainer.log_every_n_steps": whole(1),
    "trainer.gradient_clip_val": or_null(POSITIVE),
    "trainer.deterministic": Allowed("true, false or warn", lambda value: value in (True, False, "warn")),
    "trainer.requeue": Allowed("true or false", lambda value: isinstance(value, bool)),
    "trainer.check_val_every_n_epoch": whole(1),
    "trainer.val_check_interval": or_null(whole(1)),
    "trainer.limit_train_batches": or_null(BATCHES),
    "trainer.limit_val_batches": or_null(BATCHES),
    "callbacks.*.patience": Allowed(
        "a whole number of epochs from 1; callbacks.NAME=null leaves a callback out", whole(1).holds
    ),
    "callbacks.*.every_minutes": POSITIVE,
    "callbacks.*.min_delta": number("a number", lambda value: True),
    "callbacks.*.filename": or_null(PLACE),
    "callbacks.*.monitor": or_null(TEXT),
    "loggers.*.name": or_null(Allowed("text", lambda value: isinstance(value, str | int))),
    "loggers.*.version": or_null(Allowed("text or a number", lambda value: isinstance(value, str | int))),
    "callbacks.*.check_finite": Allowed("true or false", lambda value: isinstance(value, bool)),
    "loggers.*.offline": Allowed("true or false", lambda value: isinstance(value, bool)),
}


def faults(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return a sentence on each setting whose value is not allowed, by its name.

    Args:
        settings: Settings of any command, resolved. Those of a class or function of the user's own, which a
            `_target_` names, are left out: only it knows its settings.
    """
    return {
        name: f"{shown(name, value)} is not {allowed.words}."
        for pattern, allowed in ALLOWED.items()
        for name, value in _matching(settings, pattern.split("."))
        if not allowed.holds(value)
    }


def shown(name: str, value: object) -> str:
    """Return a setting as it is typed on the command line, cut if it is long."""
    text = "null" if value is None else str(value)
    return f"{name}={text if len(text) <= SHOWN else text[:SHOWN] + '...'}"


def _matching(settings: Mapping[str, Any], parts: list[str], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield name and value of the settings that a pattern matches."""
    first, *rest = parts
    for key in settings if first == "*" else [first] if first in settings else []:
        name, value = f"{above}{key}", settings[key]
        if rest and isinstance(value, Mapping):
            yield from _matching(value, rest, f"{name}.")
        elif not rest and str(settings.get("_target_") or OURS[0]).startswith(OURS):
            yield name, value
