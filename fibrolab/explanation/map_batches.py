"""Maps of many samples: batch by batch, by several methods, of one network or several."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fibrolab import keys
from fibrolab.choices import refuse_all
from fibrolab.errors import ConfigError
from fibrolab.explanation.attention_rollout import check_attention
from fibrolab.explanation.attribution import METHODS, attribute, backbone_of, visual_branches
from fibrolab.explanation.cam_methods import chosen_layer
from fibrolab.explanation.contributions import MOST_BRANCHES, shapley_values
from fibrolab.explanation.maps import TARGET, MapWriter, name_of
from fibrolab.explanation.target_scores import Task, build_target, target_fault
from fibrolab.modules.base import Classifier

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Request:
    """An explanation to compute.

    Attributes:
        methods: Names of `METHODS`.
        branches: Branches with a map.
        layer: Layer of class activation maps; None for the last one of each backbone.
        target: The score, see `fibrolab.explanation.target_scores`.
    """

    methods: tuple[str, ...]
    branches: tuple[str, ...]
    layer: str | None = None
    target: str = "predicted"


def check(request: Request, module: Classifier, task: Task) -> None:
    """Refuse what cannot be computed for a network, before the first batch.

    Raises:
        ConfigError: All faults at once: unknown names, or a method that does not suit a branch.
    """

    def check_target() -> None:
        if fault := target_fault(request.target, task.classes, task.endpoints):
            raise ConfigError(fault)

    def check_method(method: str, branch: str) -> None:
        backbone = backbone_of(module, branch)
        if METHODS[method].needs_feature_map:
            chosen_layer(backbone, request.layer)
        elif method == "attention_rollout":
            check_attention(backbone)

    def check_layer() -> None:
        if request.layer is not None and not any(METHODS[name].needs_feature_map for name in request.methods):
            raise ConfigError(
                f"explain.layer={request.layer} is of class activation maps, and none is made: leave it "
                "out, or add explain.method=gradcam."
            )

    if not visual_branches(module):
        raise ConfigError("The network takes clinical values only, which have no map.")
    pairs = [(method, branch) for method in request.methods for branch in request.branches]
    faults = dict.fromkeys(pairs)
    refuse_all([check_target, check_layer, *(lambda pair=pair: check_method(*pair) for pair in faults)])


def explained(
    networks: Sequence[Classifier],
    tasks: Sequence[Task],
    batches: Iterable[Batch],
    request: Request,
    writer: MapWriter,
    means: Sequence[Mapping[str, Tensor]] = (),
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Compute the maps of batches and write them; several networks are averaged.

    Args:
        networks: The networks, in evaluation mode.
        tasks: Loss, classes and end points of each.
        batches: Batches on their device, with labels.
        request: The explanation.
        writer: Takes the maps.
        means: Mean features of the branches of each network; without them, shares are not computed.

    Yields:
        For each batch, one row a sample (row of the manifest, true and predicted class, probabilities, target
        and the scale of each map), and one row a sample and branch with its Shapley value.

    Raises:
        ConfigError: The true class was asked for a sample without a label.
    """
    for batch in batches:
        with torch.no_grad():
            each = [
                task.loss.probabilities(network(batch)) for network, task in zip(networks, tasks, strict=True)
            ]
        probabilities = torch.stack(each).mean(0)
        built = [build_target(request.target, task, probabilities, batch[keys.LABEL]) for task in tasks]
        names = built[0][1]
        rows = _rows(batch, probabilities, names)
        for method in request.methods:
            for branch in request.branches:
                maps = [
                    attribute(method, network, batch, target, branch, request.layer)
                    for network, (target, _) in zip(networks, built, strict=True)
                ]
                mean = torch.stack(maps).mean(0).cpu().numpy()
                rows[f"scale_{name_of(method, branch)}"] = writer.add(method, branch, mean)
        shares = [
            shapley_values(network, batch, target, mean)
            for network, (target, _), mean in zip(networks, built, means, strict=bool(means))
        ]
        yield rows, _contributions(batch, names, shares)


def has_shares(module: Classifier) -> bool:
    """Return whether a network has several branches, but not too many, among which to share an answer."""
    return 1 < len(module.network.branches) <= MOST_BRANCHES


def _rows(batch: Batch, probabilities: Tensor, names: Sequence[str]) -> pd.DataFrame:
    found = probabilities.double().cpu().numpy()
    columns = {
        keys.INDEX: batch[keys.INDEX].cpu().numpy(),
        keys.Y_TRUE: batch[keys.LABEL].cpu().numpy(),
        "predicted": found.argmax(axis=1),
        "probability": found.max(axis=1),
        TARGET: list(names),
    }
    return pd.DataFrame(columns | dict(zip(keys.probability_columns(found.shape[1]), found.T, strict=True)))


def _contributions(
    batch: Batch, names: Sequence[str], shares: Sequence[Mapping[str, Tensor]]
) -> pd.DataFrame:
    """Return one row a sample and branch: its value, and its proportion of the sum of absolute values."""
    if not shares:
        return pd.DataFrame()
    branches = list(shares[0])
    values = torch.stack([torch.stack([each[name] for name in branches], dim=1) for each in shares]).mean(0)
    found = values.double().cpu().numpy()  # (B, branches)
    total = np.abs(found).sum(axis=1, keepdims=True)
    share = np.abs(found) / np.where(total > 0, total, 1)
    size = len(branches)
    return pd.DataFrame(
        {
            keys.INDEX: np.repeat(batch[keys.INDEX].cpu().numpy(), size),
            TARGET: np.repeat(list(names), size),
            "branch": branches * len(found),
            "contribution": found.ravel(),
            "share": share.ravel(),
        }
    )
