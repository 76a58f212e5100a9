"""Maps of the most probable class of single samples, for the pages of `predict` and `serve`."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fibrolab import keys
from fibrolab.analyses.explaining import task_of
from fibrolab.analyses.explanation_pictures import sources_of
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.data.progress import within_one
from fibrolab.errors import ConfigError, DataError
from fibrolab.explanation import map_batches
from fibrolab.explanation.attribution import METHODS, Method, attribute, visual_branches
from fibrolab.explanation.map_batches import Request
from fibrolab.explanation.target_scores import build_target
from fibrolab.runs import new_input
from fibrolab.runs.checkpoint import Predictor
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.training.precision import device_of

PREFERRED = ("gradcam", "attention_rollout", "integrated_gradients")  # the first one that suits the network


class BranchMap(NamedTuple):
    """A picture that a branch takes, uint8 (H, W) or (H, W, 3), and its map, (H, W).

    Of a film, it is the frame with the most heat, as the `title` says.
    """

    branch: str
    title: str
    picture: np.ndarray
    heat: np.ndarray


@dataclass(frozen=True)
class SampleMaps:
    """The maps of one sample.

    Attributes:
        method: The method.
        target: Name of the class that they explain.
        branches: The map of each branch whose input the sample has.
    """

    method: Method
    target: str
    branches: tuple[BranchMap, ...]


def of_sample(manifest: Manifest, run: TrainedRun) -> SampleMaps:
    """Explain the most probable class of one sample by the mean map of the run's networks.

    Args:
        manifest: The sample.
        run: A run that classifies.

    Raises:
        DataError: The file cannot be read, or the sample lacks an input that every training sample had.
        ConfigError: The network takes no picture.
    """
    with TemporaryDirectory(prefix="fibrolab-") as made, within_one():
        cache, networks = Path(made), run.predictors
        data, faults = new_input.unlabelled(manifest, networks[0].classes)
        if data is None:
            raise DataError(" ".join(faults.values()))
        for network in networks:
            network.require_inputs(data.manifest)
        data = networks[0].masked(data, cache)
        method = method_of(networks[0])
        found, target = _maps(data, networks, method.name, cache)
        (sample,) = data.manifest.table[keys.SAMPLE_ID]
        sources = sources_of(networks[0], [data.manifest])
        title, branches = f"{method.label} of {target}" if method.needs_target else method.label, []
        for branch, source in sources.items():
            if np.isnan(found[branch]).all():
                continue  # the sample lacks this input
            words = [title, *([branch] if len(sources) > 1 else [])]
            words += ["frame with the most heat"] if source.segment is not None else []
            picture, heat = source.open(sample).still(found[branch])
            branches.append(BranchMap(branch, ", ".join(words), picture, heat))
    return SampleMaps(method, target, tuple(branches))


def method_of(network: Predictor) -> Method:
    """Return the first preferred method that suits all branches of a network.

    Raises:
        ConfigError: None does.
    """
    task = task_of(network)
    branches = tuple(visual_branches(network.classifier))
    for name in PREFERRED:
        try:
            map_batches.check(Request((name,), branches), network.classifier, task)
            return METHODS[name]
        except ConfigError as error:
            fault = error
    raise fault


def _maps(
    data: LabelledData, networks: tuple[Predictor, ...], method: str, cache: Path
) -> tuple[dict[str, np.ndarray], str]:
    """Return the mean map of each branch, (h, w) or (t, h, w), and the class that they explain."""
    device = device_of("auto")
    batches, probabilities = [], []
    for network in networks:
        datamodule = network.datamodule(data, cache)
        datamodule.prepare_data()
        (batch,) = datamodule.test_dataloader()
        batches.append({name: value.to(device) for name, value in batch.items()})
        module = network.classifier.to(device).eval()
        with torch.no_grad():
            probabilities.append(task_of(network).loss.probabilities(module(batches[-1])))
    common = torch.stack(probabilities).mean(0)
    each: dict[str, list[Tensor]] = {}
    names: tuple[str, ...] = ()
    for network, batch in zip(networks, batches, strict=True):
        target, found = build_target("predicted", task_of(network), common, batch[keys.LABEL])
        names = tuple(found)
        for branch in visual_branches(network.classifier):
            heat = attribute(method, network.classifier, batch, target, branch)
            each.setdefault(branch, []).append(heat[0].cpu())
    means = {branch: torch.stack(maps).mean(0).numpy() for branch, maps in each.items()}
    return means, str(names[0])
