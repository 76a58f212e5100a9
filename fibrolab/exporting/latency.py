"""Latency of an artifact and of the same network in torch, by the number of samples in a batch."""

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fibrolab.exporting.parity import Answer

BATCHES = (1, 4, 16)
COLUMNS = ("batch", "artifact_ms", "torch_ms", "ratio")
SECONDS = 1.0  # longest time of the repetitions of one batch by one of the two; at least `LEAST` are timed
LEAST, MOST = 3, 50


def measure(artifact: Answer, network: Answer, values: Sequence[Tensor]) -> pd.DataFrame:
    """Return the median latency of a whole batch [ms] on the CPU of this machine.

    Args:
        artifact: The artifact.
        network: The same network in torch.
        values: Entries of any batch, whose samples are repeated.

    Returns:
        A row a batch size: `batch`, `artifact_ms`, `torch_ms`, and their `ratio`, below 1 if the artifact is
        faster.
    """
    rows = []
    for size in BATCHES:
        batch = [value[torch.arange(size) % len(value)].contiguous() for value in values]
        own, other = _median(artifact, batch), _median(network, batch)
        rows.append((size, own, other, own / other))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _median(answer: Answer, batch: Sequence[Tensor]) -> float:
    answer(batch)  # the first one prepares the others
    times, started = list[float](), time.perf_counter()
    while len(times) < MOST and (len(times) < LEAST or time.perf_counter() - started < SECONDS):
        begun = time.perf_counter()
        answer(batch)
        times.append(1000 * (time.perf_counter() - begun))
    return float(np.median(times))
