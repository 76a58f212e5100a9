"""Networks with randomised weights or labels: a map that they share with the trained one shows no learning.

Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018, sections 3 and 4.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from fibrolab import keys
from fibrolab.modules.base import Batch, Classifier

CASCADE = 4  # steps at most: head; then the last third of the branches' stages, two thirds, all
EVERYTHING = "all weights"  # name of the last step
FIT_STEPS, FIT_RATE = 100, 0.01  # of the head on random labels: its loss on 32 samples is flat by then


def cascade(module: Classifier, seed: int = 0) -> Iterator[tuple[str, Classifier]]:
    """Yield copies of a network with ever more stages re-initialised, from the head down to the input.

    Cascading randomisation of Adebayo et al. 2018, section 3.1. A layer is drawn again as it is when it is
    built, batch norm with its statistics; parameters that belong to no layer with its own initialisation,
    such as the tokens of a transformer, are drawn from a normal distribution with their mean and deviation.

    Args:
        module: The trained network; it is not changed.
        seed: Seed of the weights.

    Yields:
        What is random, and the network: one object, changed again by the next step.
    """
    module = _copied(module)
    depths = module.network.depths()
    stages = sorted(set(depths.values()), reverse=True)
    parts = [stages[:1], *(list(part) for part in np.array_split(stages[1:], CASCADE - 1) if len(part))]
    for number, part in enumerate(parts):
        with _seeded(seed + number, module.device):
            _initialise(module.network, {name for name, depth in depths.items() if depth in part})
        yield _name(number, len(parts)), module


def with_random_labels(module: Classifier, batches: Sequence[Batch], seed: int = 0) -> Classifier:
    """Return a copy whose head was trained again, on permuted labels.

    Adebayo et al. 2018, section 4, train the whole network on random labels, which costs a training. Here the
    features stay and only the head is fitted, to the given samples: the cheap version detects maps that do
    not depend on the head, and cannot detect maps that depend on the features alone.

    Args:
        module: The trained network; it is not changed.
        batches: The samples, labelled or not: predicted classes then take the place of labels.
        seed: Seed of the permutation and of the head's first weights.
    """
    module = _copied(module)
    with torch.no_grad():
        features = torch.cat([module.network.encode(batch) for batch in batches])
        labels = torch.cat([_labels(module, batch) for batch in batches])
    rng = np.random.default_rng(seed)
    permuted = labels[torch.from_numpy(rng.permutation(len(labels))).to(labels.device)]
    head: nn.Module = module.network.head
    with _seeded(seed, module.device), torch.enable_grad():
        _initialise(head, {name for name, _ in head.named_parameters()})
        optimizer = torch.optim.Adam(head.requires_grad_().parameters(), lr=FIT_RATE)
        for _ in range(FIT_STEPS):
            optimizer.zero_grad()
            module.criterion(head(features), permuted).backward()
            optimizer.step()
    return module


def _copied(module: Classifier) -> Classifier:
    copied = copy.deepcopy(module).eval()
    copied.trainer = None
    return copied


def _labels(module: Classifier, batch: Batch) -> Tensor:
    """Return the labels (B,) of a batch, with the predicted class where there is none."""
    predicted: Tensor = module.criterion.probabilities(module(batch)).argmax(dim=1)
    given = batch.get(keys.LABEL, torch.full_like(predicted, keys.UNLABELLED)).to(predicted.device)
    return torch.where(given == keys.UNLABELLED, predicted, given)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's random numbers, and restore their state afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def _initialise(network: nn.Module, names: set[str]) -> None:
    """Draw the named parameters of a network again."""
    for path, layer in network.named_modules():
        own = {f"{path}.{name}".lstrip("."): value for name, value in layer.named_parameters(recurse=False)}
        chosen = [value for name, value in own.items() if name in names]
        is_simple = isinstance(layer, _NormBase) or next(layer.children(), None) is None
        if chosen and is_simple and hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
        else:
            for value in chosen:
                value.normal_(float(value.mean()), float(value.std(correction=0)))


def _name(number: int, parts: int) -> str:
    if number == parts - 1:
        return EVERYTHING
    return "the head" if number == 0 else f"the head and the last {number}/{parts - 1} of the stages"
