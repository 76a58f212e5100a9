"""The map of one sample as a transparent layer over its picture, for a page that sets its opacity."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fibrolab import keys
from fibrolab.analyses.explanation_pictures import sources_of
from fibrolab.data.labelled_data import LabelledData
from fibrolab.data.manifest import Manifest
from fibrolab.data.progress import within_one
from fibrolab.errors import ConfigError, DataError
from fibrolab.explanation import map_batches, overlays
from fibrolab.explanation.attribution import METHODS, attribute, visual_branches
from fibrolab.explanation.map_batches import Request
from fibrolab.explanation.target_scores import Task, build_target
from fibrolab.runs import new_input
from fibrolab.runs.checkpoint import Predictor
from fibrolab.runs.trained_run import TrainedRun
from fibrolab.training.precision import device_of

SIDE = 1024  # largest side of a picture that is sent [px]
PREFERRED = ("gradcam", "attention_rollout", "integrated_gradients")  # the first one that suits the network
QUALITY = 85  # of WebP


def of_sample(manifest: Manifest, run: TrainedRun) -> dict[str, Any]:
    """Explain the most probable class of one sample by the mean map of the run's networks.

    Args:
        manifest: The sample.
        run: A run that classifies.

    Returns:
        Method and explained class; and for each branch with a map its name, the picture and the layer as
        `data:` addresses. Of a film, the frame with the most heat.

    Raises:
        DataError: The file cannot be read.
        ConfigError: The network takes no picture.
    """
    with TemporaryDirectory(prefix="fibrolab-") as made, within_one():
        cache, networks = Path(made), run.predictors
        data, faults = new_input.unlabelled(manifest, networks[0].classes)
        if data is None:
            raise DataError(" ".join(faults.values()))
        data = networks[0].masked(data, cache)
        method = _method(networks[0])
        found, target = _maps(data, networks, method, cache)
        (sample,) = data.manifest.table[keys.SAMPLE_ID]
        branches = []
        for branch, source in sources_of(networks[0], [data.manifest]).items():
            if np.isnan(found[branch]).all():
                continue  # the sample lacks this input
            picture, heat = source.open(sample).still(found[branch])
            layer = _layer(heat, METHODS[method].signed)
            branches.append({"branch": branch, "picture": address(picture), "layer": layer})
    return {"method": METHODS[method].label, "target": target, "branches": branches}


def address(pixels: np.ndarray) -> str:
    """Return a picture, uint8 (H, W) or (H, W, 3), as an address `data:`, not larger than `SIDE`."""
    image = Image.fromarray(pixels).convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return _encoded(image, "webp", quality=QUALITY)


def _layer(heat: np.ndarray, signed: bool) -> str:
    """Return a map (H, W) as colours whose opacity is its strength, with nothing where there is no value."""
    scale = overlays.scale([heat], signed)
    strength = (255 * scale.strength(heat)).round().astype(np.uint8)
    image = Image.fromarray(np.dstack([scale.coloured(heat), strength]), "RGBA")
    image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    return _encoded(image, "png")


def _encoded(image: Image.Image, kind: str, **settings: Any) -> str:
    content = io.BytesIO()
    image.save(content, format=kind, **settings)
    return encoded(content.getvalue(), kind)


def encoded(content: bytes, kind: str) -> str:
    """Return a picture in a format, such as `webp`, as an address `data:`."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _method(network: Predictor) -> str:
    """Return the first preferred method that suits all branches of a network.

    Raises:
        ConfigError: None does.
    """
    task = _task(network)
    branches = tuple(visual_branches(network.classifier))
    for name in PREFERRED:
        try:
            map_batches.check(Request((name,), branches), network.classifier, task)
            return name
        except ConfigError as error:
            fault = error
    raise fault


def _maps(
    data: LabelledData, networks: Sequence[Predictor], method: str, cache: Path
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
            probabilities.append(_task(network).loss.probabilities(module(batches[-1])))
    common = torch.stack(probabilities).mean(0)
    each: dict[str, list[Tensor]] = {}
    names: Sequence[str] = ()
    for network, batch in zip(networks, batches, strict=True):
        target, names = build_target("predicted", _task(network), common, batch[keys.LABEL])
        for branch in visual_branches(network.classifier):
            found = attribute(method, network.classifier, batch, target, branch)
            each.setdefault(branch, []).append(found[0].cpu())
    means = {branch: torch.stack(maps).mean(0).numpy() for branch, maps in each.items()}
    return means, str(names[0])


def _task(network: Predictor) -> Task:
    endpoints = network.record["task"]["endpoints"] or {}
    return Task(network.module.criterion, network.classes, dict(endpoints))
