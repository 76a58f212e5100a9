"""Branches of a network: their interface, and how one is built from settings."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from fibrolab import keys
from fibrolab.choices import refuse, unknown
from fibrolab.errors import ConfigError, WeightsError
from fibrolab.models import clinical_branch, frame_models
from fibrolab.models.backbones import Backbone
from fibrolab.models.clinical_branch import ClinicalBranch
from fibrolab.models.frame_models import over_frames

INPUT = "input"  # setting of a branch: the entry of the batch that it takes
FRAMES = "frames"  # setting of a branch: how an image network is applied to a clip
Settings = Mapping[str, Any]


class Branch(Protocol):
    """Interface of a branch, an `nn.Module`, as a fusion uses it."""

    @property
    def num_features(self) -> int:
        """Length of its feature vector, F."""

    @property
    def frozen(self) -> bool:
        """Return whether no parameter ever trains, so that its features can be computed once."""

    def __call__(self, values: Tensor, /) -> Tensor:
        """Return features (B, F) of one entry of a batch."""

    def depths(self) -> dict[str, int]:
        """Return the depth of every parameter by name: 0 nearest the input, largest nearest the head."""

    def at_epoch(self, epoch: int) -> None:
        """Unfreeze the stages scheduled for this epoch and freeze all others, whatever ran before."""


def build_branch(name: str, settings: Settings, image_size: int, clinical: Settings | None) -> nn.Module:
    """Build the `Branch` that settings describe.

    Args:
        name: Name of the branch, for messages.
        settings: `input`, the batch entry that the branch takes (default ``image``), and the settings of a
            `Backbone`, for clips also `frames` (`over_frames`); or ``input: clinical`` and the settings of a
            `ClinicalBranch`.
        image_size: Side of the square images [px].
        clinical: `columns` of the batch's clinical values, their `mean` and `sd` over the training samples.

    Raises:
        ConfigError: Settings are unknown, out of range, or contradict each other.
        WeightsError: The weights cannot be found or downloaded, or do not fit.
    """
    refuse(branch_faults(name, settings, clinical))
    rest = dict(settings)
    modality = rest.pop(INPUT, keys.IMAGE)
    try:
        if modality == keys.CLINICAL:
            assert clinical is not None
            return _build_clinical(rest, clinical)
        return _build_backbone(rest, modality, image_size)
    except (ConfigError, WeightsError) as fault:
        raise type(fault)(f"model.branches.{name}: {fault}") from fault


def branch_faults(name: str, settings: Settings, clinical: Settings | None) -> list[str]:
    """Return a sentence on each fault of a branch's settings that shows before it is built."""
    where = f"model.branches.{name}"
    if not isinstance(settings, Mapping):
        return [f"{where}: {settings} is not a branch. Give its settings, or leave it out with ~{where}."]
    found = []
    if not name.isidentifier() or hasattr(nn.ModuleDict(), name):
        found.append(f"model.branches: '{name}' cannot name a branch. Use a word, such as 'image'.")
    modality = settings.get(INPUT, keys.IMAGE)
    if modality not in keys.INPUTS:
        found.append(unknown(f"{where}.{INPUT}", modality, keys.INPUTS))
    allowed = _allowed(modality)
    if "_target_" not in settings:  # with it, unknown settings are arguments of the user's own network
        found += [unknown(where, key, allowed) for key in settings if key not in allowed]
    own = _clinical_faults(settings, clinical) if modality == keys.CLINICAL else _backbone_faults(settings)
    return found + [f"{where}: {fault}" for fault in own]


def clinical_columns(branches: Mapping[str, Settings]) -> list[str]:
    """Return the clinical columns that branches take, each once; `branch_faults` reports unknown names."""
    taken = [
        given
        for given in branches.values()
        if isinstance(given, Mapping) and given.get(INPUT) == keys.CLINICAL
    ]
    named = [column for given in taken for column in given.get("columns") or ()]
    return [column for column in dict.fromkeys(named) if column in clinical_branch.COLUMNS]


def settings_of(build: Callable[..., Any], without: tuple[str, ...]) -> list[str]:
    """Return the argument names of a function that a user sets: all except those in `without`."""
    return [name for name in inspect.signature(build).parameters if name not in without]


def _allowed(modality: str) -> list[str]:
    if modality == keys.CLINICAL:
        return [INPUT, *settings_of(ClinicalBranch, without=("mean", "sd", "places"))]
    return [INPUT, FRAMES, *settings_of(Backbone, without=("image_size", "_target_", "settings"))]


def _backbone_faults(settings: Settings) -> list[str]:
    found = []
    if not settings.get("name"):
        found.append("no backbone is named. Give name, such as resnet18, or beside _target_ any name.")
    words = {key: settings.get(key) for key in ("name", "weights", "freeze")}
    found += [
        f"{key}: {given} is not text." for key, given in words.items() if given and not isinstance(given, str)
    ]
    frames, modality = settings.get(FRAMES), settings.get(INPUT, keys.IMAGE)
    if frames and not (isinstance(frames, Mapping) and frames.get("name")):
        found.append(f"{FRAMES}: {frames} does not name how frames are combined. Give name, such as lstm.")
    elif frames:
        found += frame_models.faults(**frames)
    if frames and modality in (keys.IMAGE, keys.ELASTOGRAM):
        found.append(f"{FRAMES}: '{modality}' is a single image. Give {INPUT}={keys.CLIP}, or no {FRAMES}.")
    return found


def _clinical_faults(settings: Settings, clinical: Settings | None) -> list[str]:
    columns = settings.get("columns")
    if found := clinical_branch.faults(columns, settings.get("hidden", ())):
        return found
    known = clinical["columns"] if clinical else ()
    return [
        f"columns: no training sample has {column}. Use data that has it, or leave it out."
        for column in columns or ()
        if column not in known
    ]


def _build_clinical(rest: dict[str, Any], clinical: Settings) -> nn.Module:
    places = [list(clinical["columns"]).index(column) for column in rest["columns"]]
    mean, sd = ([clinical[key][place] for place in places] for key in ("mean", "sd"))
    return ClinicalBranch(**rest, mean=mean, sd=sd, places=places)


def _build_backbone(rest: dict[str, Any], modality: str, image_size: int) -> nn.Module:
    frames = rest.pop(FRAMES, None)
    backbone = Backbone(**rest, image_size=image_size)
    if backbone.takes_clips and modality != keys.CLIP:
        raise ConfigError(
            f"{rest['name']} takes clips, and '{modality}' is a single image. "
            f"Give {INPUT}={keys.CLIP}, or an image network such as resnet18."
        )
    if backbone.takes_clips and frames:
        raise ConfigError(f"{rest['name']} already takes whole clips. Give no {FRAMES}, or an image network.")
    if modality == keys.CLIP and not backbone.takes_clips and not frames:
        raise ConfigError(
            f"{rest['name']} is an image network and does not take clips by itself. "
            f"Give {FRAMES}, such as lstm, or a clip network such as r3d_18, or {INPUT}={keys.IMAGE}."
        )
    return over_frames(backbone, **frames) if frames else backbone
