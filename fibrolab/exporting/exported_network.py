"""The network that is exported: from stored bytes and raw clinical values to probabilities and scores.

It holds all arithmetic of a run after its cache: normalisation, the step to three channels, the scales of
clinical values, the network (or the mean of several), probabilities, temperature and end points.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fibrolab import keys
from fibrolab.data.clinical import MEASURES
from fibrolab.errors import ConfigError
from fibrolab.evaluation.measures.probability_quality import LEAST
from fibrolab.models.fusion import LateFusion
from fibrolab.modules.base import Classifier
from fibrolab.runs.answering import Rules
from fibrolab.runs.checkpoint import Predictor

PROBABILITIES, CONFIDENCE, SCORES = "probabilities", "confidence", "scores"
DECADE = 10  # years in a unit of age, as in `fibrolab.data.clinical.measured`
ALIKE = ("preprocess", "segment", "decode", "classes")  # parts of the record that several networks share


@dataclass(frozen=True)
class Entry:
    """One input of the exported network.

    Attributes:
        name: Modality, `clinical`, or the mask of samples that have a modality.
        dtype: `uint8`, `float32` or `bool`.
        shape: Its shape after the axis of the samples.
        meaning: Sentence on its values.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    meaning: str

    def blank(self, samples: int) -> Tensor:
        """Return an example of so many samples: black pictures, unknown values, every modality present."""
        kind = getattr(torch, self.dtype)
        fill = {"uint8": 0, "float32": math.nan, "bool": True}[self.dtype]
        return torch.full((samples, *self.shape), fill, dtype=kind)


class ExportedNetwork(nn.Module):
    """A run's network, or the mean of several, from the entries of a batch to its answers.

    Args:
        networks: Networks of one run.
        rules: Decision rules of its samples.

    Attributes:
        entries: Its inputs in order.
        outputs: Names of its outputs in order: probabilities (B, K), confidence (B,), and scores (B, E) if
            the task has end points.

    Raises:
        ConfigError: The networks take different inputs, or prepare them in different ways.
    """

    def __init__(self, networks: Sequence[Predictor], rules: Rules) -> None:
        super().__init__()
        first, *others = networks
        for other in others:
            _refuse_other(first, other)
        self.members = nn.ModuleList([_Member(each.classifier, each.needed) for each in networks])
        self.entries = entries(first)
        self.outputs = (PROBABILITIES, CONFIDENCE, *([SCORES] if rules.endpoints else []))
        self._temperature = rules.temperature if math.isfinite(rules.temperature) else 1.0
        self._lowest = list(rules.endpoints.values())
        self.eval()

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Return probabilities (B, K), confidence (B,) and scores (B, E), float32, of the `entries`."""
        given = {entry.name: value for entry, value in zip(self.entries, values, strict=True)}
        total = self.members[0](given)
        for member in list(self.members)[1:]:
            total = total + member(given)
        probabilities = total / len(self.members)
        scaled = (probabilities.clamp_min(LEAST).log() / self._temperature).softmax(dim=1)
        found = [probabilities, scaled.amax(dim=1)]
        if self._lowest:
            found.append(torch.stack([probabilities[:, low:].sum(dim=1) for low in self._lowest], dim=1))
        return tuple(found)


class _Member(nn.Module):
    """One network, from the entries of a batch to probabilities (B, K).

    They are NaN for a sample that `predict` refuses: one without any input or without one that the network
    needs, and one with a clinical value that no patient can have, whose logarithm may not even exist.

    Args:
        module: The trained module.
        needed: Modalities and clinical columns that every sample of its training had.
    """

    def __init__(self, module: Classifier, needed: Sequence[str]) -> None:
        super().__init__()
        self.network, self.criterion = module.network, module.criterion
        self.columns, self.needed = list(module.clinical_columns), list(needed)
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)

    def forward(self, given: Mapping[str, Tensor]) -> Tensor:
        batch = dict(given)
        if self.columns:
            batch[keys.CLINICAL] = on_scales(batch[keys.CLINICAL], self.columns)
        probabilities = self.criterion.probabilities(self._logits(batch))
        if refused := list(self._refused(given)):
            probabilities = probabilities.masked_fill(torch.stack(refused, 1).any(1, keepdim=True), math.nan)
        return probabilities

    def _refused(self, given: Mapping[str, Tensor]) -> Iterator[Tensor]:
        """Yield for each reason the samples that are not answered, bool (B,)."""
        names = [keys.present(name) for name in self.network.inputs if keys.present(name) in given]
        known = [given[name] for name in names]
        yield from (~given[name] for name in map(keys.present, self.needed) if name in given)
        if self.columns:
            values = given[keys.CLINICAL]
            places = [place for place, name in enumerate(self.columns) if name in self.needed]
            yield _are_impossible(values, self.columns)
            if places:
                yield values[:, places].isnan().any(dim=1)
            known.append(~values.isnan().all(dim=1))
        if names:
            yield ~torch.stack(known, dim=1).any(dim=1)

    def _logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return logits; branches run on all rows, since a graph cannot choose some of them."""
        if not isinstance(self.network, LateFusion):
            logits: Tensor = self.network(batch)
            return logits
        features, masks = {}, {}
        for name, branch in self.network.branches.items():
            entry = self.network.input_of(name)
            features[name] = branch(batch[entry])
            if (present := batch.get(keys.present(entry))) is not None:
                masks[name] = present
                features[name] = features[name].masked_fill(~present.unsqueeze(1), 0)
        fused = self.network.fusion(features, masks)
        head: Tensor = self.network.head(fused)
        return head


def on_scales(values: Tensor, columns: Sequence[str]) -> Tensor:
    """Return clinical values (B, D) in the units of a table on the scales that a network takes.

    As `fibrolab.data.clinical.measured`: age in decades, sex unchanged, the logarithms of all others.
    """
    scaled = [
        value if name == keys.SEX else value / DECADE if name == keys.AGE_YEARS else value.log()
        for name, value in zip(columns, values.unbind(dim=1), strict=True)
    ]
    return torch.stack(scaled, dim=1)


def _are_impossible(values: Tensor, columns: Sequence[str]) -> Tensor:
    """Return which samples have an impossible clinical value among (B, D), bool (B,)."""
    ranges = {measure.column: measure.possible for measure in MEASURES} | {keys.SEX: (0, 1)}
    low, high = (values.new_tensor([ranges[name][end] for name in columns]) for end in (0, 1))
    return ((values < low) | (values > high)).any(dim=1)


def entries(network: Predictor) -> tuple[Entry, ...]:
    """Return the inputs of an exported network in order: modalities, clinical values, masks."""
    module, record = network.module, network.record
    side, frames = int(record["preprocess"]["size"]), int(record["segment"]["length"])
    found, visual = list[Entry](), module.modalities
    for name in visual:
        channels = 3 if name == keys.ELASTOGRAM else 1
        time = (frames,) if name == keys.CLIP else ()
        axes = "channel, frame, row, column" if time else "channel, row, column"
        found.append(
            Entry(
                name,
                "uint8",
                (channels, *time, side, side),
                f"{'RGB' if channels == 3 else 'Grey'} levels 0 to 255 after the preprocessing; {axes}.",
            )
        )
    if columns := module.clinical_columns:
        listed = ", ".join(columns)
        meaning = f"{listed}, in the units of a table; sex 0 (F) or 1 (M); NaN where not measured."
        found.append(Entry(keys.CLINICAL, "float32", (len(columns),), meaning))
    if len(found) > 1:
        found += [
            Entry(
                keys.present(name),
                "bool",
                (),
                f"Whether a sample has {name}; if not, its pixels are ignored.",
            )
            for name in visual
        ]
    return tuple(found)


def _refuse_other(first: Predictor, other: Predictor) -> None:
    """Refuse networks that one graph cannot average."""
    parts = [name for name in ALIKE if first.record.get(name) != other.record.get(name)]
    if first.module.inputs != other.module.inputs:
        parts.append("inputs")
    if first.module.clinical_columns != other.module.clinical_columns:
        parts.append("clinical columns")
    if parts:
        raise ConfigError(
            f"{first.path} and {other.path} differ in {', '.join(parts)}, and one exported network can only "
            "average networks with the same inputs: export the run of one of them."
        )


def described(network: ExportedNetwork, rules: Rules) -> dict[str, Any]:
    """Return the inputs and outputs of an exported network as text and numbers."""
    meanings = {
        PROBABILITIES: ("probability of each class, before the temperature", list(rules.classes)),
        CONFIDENCE: ("probability of the most probable class at the temperature", []),
        SCORES: ("sum of the probabilities of the positive classes of each end point", list(rules.endpoints)),
    }
    return {
        "inputs": [
            {"name": each.name, "dtype": each.dtype, "shape": ["batch", *each.shape], "meaning": each.meaning}
            for each in network.entries
        ],
        "outputs": [
            {
                "name": name,
                "dtype": "float32",
                "shape": ["batch", *([len(meanings[name][1])] if meanings[name][1] else [])],
                "meaning": meanings[name][0],
                "columns": meanings[name][1],
            }
            for name in network.outputs
        ],
    }
