"""Tests of attribution maps: what each method's maps are worth on a network, in numbers and in words.

All tests of one method cost at most ten maps of each tested picture: `MAPS` maps, and two forward passes for
each of `deletion_insertion.FRACTIONS`, which are three maps of the cheapest method (a forward and a backward
pass, twice as long). Maps that know nothing of the network, scores of emptied pictures and the head that is
fitted to random labels are shared by all methods. Each further network of a run adds one map.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fibrolab import keys
from fibrolab.data.audit.finding import Finding, ranked
from fibrolab.data.formats.contract import to_grey
from fibrolab.data.image_borders import TEXT as BORDER_FRACTION
from fibrolab.data.image_borders import burned_in, scan_mask
from fibrolab.data.screen_capture import COLOURED
from fibrolab.explanation import localisation, verdicts
from fibrolab.explanation.attribution import METHODS, attribute
from fibrolab.explanation.deletion_insertion import Curves
from fibrolab.explanation.localisation import energy_inside, proportion
from fibrolab.explanation.randomisation import CASCADE, EVERYTHING, cascade, with_random_labels
from fibrolab.explanation.reference_maps import centre_map, random_map
from fibrolab.explanation.similarity import at_size, of_other_pictures, similarities
from fibrolab.explanation.target_scores import Target, Task, build_target
from fibrolab.explanation.verdicts import Measured
from fibrolab.modules.base import Batch, Classifier
from fibrolab.storage import put, write_table

MOST = 32  # tested pictures: the interval of a mean correlation with SD .2 is then .14 wide
MAPS = 3 + CASCADE  # of each picture: trained, repeated, random labels, and each step of the cascade
# Above .5, two maps share more than a quarter of their ranks' variance: too much for a network that knows
# nothing, also where the maps of different pictures are even more alike.
CEILING = 0.5
# One grey level is less than the noise of the scanner and of JPEG: what it changes is no property of the
# picture. Labels that change a map no more than that do not matter to it.
SAME = 0.9
RANDOM, CENTRE, EVEN = "a random map", "a centre-weighted map", "an even map"
CURVE_TESTS: dict[str, verdicts.Better] = {verdicts.DELETION: "lower", verdicts.INSERTION: "higher"}
FEWEST_PIXELS = 5  # of calipers on a scan: fewer are bright speckle
TESTS_FILE, FINDINGS_FILE = "tests.csv", "findings.json"


class Explain(Protocol):
    """An attribution method on one branch."""

    def __call__(self, module: Classifier, batch: Batch, target: Target, seed: int = 0) -> Tensor:
        """Return maps (B, h, w) or (B, t, h, w) of the score `target` of each sample."""


def explainers(
    methods: Iterable[str], branches: Iterable[str], layer: str | None = None
) -> dict[tuple[str, str], Explain]:
    """Return the explainers of `run_tests` for `METHODS` by name, on each of some branches."""
    names = list(branches)

    def explainer(method: str, branch: str) -> Explain:
        def explain(module: Classifier, batch: Batch, target: Target, seed: int = 0) -> Tensor:
            return attribute(method, module, batch, target, branch, layer, seed)

        return explain

    return {(method, branch): explainer(method, branch) for method in methods for branch in names}


@dataclass(frozen=True)
class Selection:
    """The pictures on which methods are selection.

    Attributes:
        batches: Batches on the module's device, two pictures or more in all.
        targets: The explained score for each batch. It stays that of the trained network's classes, so that a
            randomised network is asked the same question.
        groups: Independent unit of each sample (N,).
        regions: True regions by name, bool (N, S, S) in the geometry of the network's input; empty for a
            sample without a mask.
    """

    batches: Sequence[Batch]
    targets: Sequence[Target]
    groups: Sequence[str]
    regions: Mapping[str, Tensor] = field(default_factory=dict)


def rows_to_test(number: int) -> list[int]:
    """Return at most `MOST` of a number of samples, evenly spaced, so that no stage is left out."""
    return sorted({round(row) for row in np.linspace(0, number - 1, min(number, MOST))})


def selected(
    module: Classifier,
    task: Task,
    target: str,
    batches: Sequence[Batch],
    groups: Sequence[str],
    regions: Mapping[str, Tensor] | None = None,
) -> Selection:
    """Return a selection whose targets stay those of the trained network's answers.

    Args:
        module: The trained network, in evaluation mode.
        task: Its loss, classes and end points.
        target: Name of the target, see `fibrolab.explanation.target_scores`.
        batches: See `Selection`; with labels if `target` is `true`.
        groups: See `Selection`.
        regions: See `Selection`.

    Raises:
        ConfigError: The target is unknown, or `true` was asked for samples without a label.
    """
    with torch.no_grad():
        answers = [task.loss.probabilities(module(batch)) for batch in batches]
    targets = [
        build_target(target, task, probabilities, batch.get(keys.LABEL))[0]
        for probabilities, batch in zip(answers, batches, strict=True)
    ]
    return Selection(batches, targets, groups, regions or {})


def run_tests(
    module: Classifier,
    selection: Selection,
    explained_by: Mapping[tuple[str, str], Explain],
    networks: Sequence[Classifier] = (),
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[pd.DataFrame, list[Finding]]:
    """Test every method on every branch.

    Args:
        module: The trained network; it is not changed.
        selection: The pictures.
        explained_by: The methods by the names of method and branch.
        networks: Further networks of the run, other seeds or folds, for reproducibility.
        resamples: Bootstrap resamples of the groups.
        seed: Seed of all random draws.

    Returns:
        A table with the columns `verdicts.COLUMNS`, one row a measure and one a verdict; and the findings for
        the report, the most serious first.
    """
    module.eval()
    relabelled = with_random_labels(module, selection.batches, seed)
    tables, findings = [], []
    names = dict.fromkeys(branch for _, branch in explained_by)
    branches = {branch: _Branch(module, selection, branch, seed) for branch in names}
    for (method, branch), explain in explained_by.items():
        measured = branches[branch].measure(explain, relabelled, networks)
        results = verdicts.judge(measured, selection.groups, resamples, seed)
        label = METHODS[method].label if method in METHODS else method
        tables.append(verdicts.table(method, label, branch, results))
        findings += verdicts.findings(label, branch, results)
    return pd.concat(tables, ignore_index=True), ranked(findings)


def write(folder: Path, table: pd.DataFrame, findings: Sequence[Finding]) -> None:
    """Write the results of `run_tests` into the folder of an explanation.

    Raises:
        StorageError: The folder cannot be written, or the disk is full.
    """
    write_table(table, folder / TESTS_FILE)
    put(folder / FINDINGS_FILE, json.dumps([asdict(finding) for finding in findings], indent=2).encode())


class _Branch:
    """The pictures of one branch, their regions, and what all methods share: curves of reference maps."""

    def __init__(self, module: Classifier, selection: Selection, branch: str, seed: int) -> None:
        self.module, self.selection, self.seed = module, selection, seed
        self.entry = module.network.input_of(branch)
        self.pictures = torch.cat([batch[self.entry] for batch in selection.batches]).cpu()
        self.number, self.size = len(self.pictures), self.pictures.shape[-1]
        self.regions = _regions(self.pictures)
        scan = ~self.regions[verdicts.OUTSIDE]
        self.curves = list(self._curves(scan))
        self.references = {
            RANDOM: self._areas(self._whole(random_map(self.number, self.size, seed))),
            CENTRE: self._areas(self._whole(centre_map(self.number, self.size))),
        }

    def measure(
        self, explain: Explain, relabelled: Classifier, networks: Sequence[Classifier]
    ) -> list[Measured]:
        """Return all measures of a method's maps."""
        maps = self._maps(explain, self.module)
        others = of_other_pictures(maps, self.seed)
        measured = list(self._weights(explain, maps, others))
        measured += self._similar(
            verdicts.LABELS, maps, self._maps(explain, relabelled), SAME, "under noise", "lower"
        )
        repeated = self._maps(explain, self.module, again=True)
        measured += self._similar(verdicts.REPEATED, maps, repeated, SAME, "at least", "higher")
        if networks:
            by_network = [similarities(maps, self._maps(explain, network.eval())) for network in networks]
            measured += [
                Measured(
                    verdicts.NETWORKS,
                    name,
                    np.mean([each[name] for each in by_network], axis=0),
                    values,
                    "maps of other pictures",
                    "higher",
                )
                for name, values in others.items()
            ]
        return [*measured, *self._curve_tests(maps), *self._region_tests(maps), *self._mask_tests(maps)]

    def _weights(
        self, explain: Explain, maps: Tensor, others: Mapping[str, np.ndarray]
    ) -> Iterator[Measured]:
        """Yield the similarity to the maps of ever more random networks; only the last one is judged."""
        for part, network in cascade(self.module, self.seed):
            for name, values in similarities(maps, self._maps(explain, network)).items():
                defined = others[name][np.isfinite(others[name])]
                most = min(float(defined.mean()), CEILING) if len(defined) else CEILING
                yield Measured(
                    verdicts.WEIGHTS,
                    f"{name} after {part}",
                    values,
                    np.full(self.number, most),
                    "maps of other pictures" if most < CEILING else "at most",
                    "lower" if part == EVERYTHING else "",
                )

    def _similar(
        self, test: str, maps: Tensor, changed: Tensor, limit: float, against: str, better: verdicts.Better
    ) -> list[Measured]:
        return [
            Measured(test, name, values, np.full(self.number, limit), against, better)
            for name, values in similarities(maps, changed).items()
        ]

    def _curve_tests(self, maps: Tensor) -> Iterator[Measured]:
        areas = self._areas(maps)
        for name, reference in self.references.items():
            for test, better in CURVE_TESTS.items():
                yield Measured(test, f"area, {name}", areas[test], reference[test], name, better)

    def _region_tests(self, maps: Tensor) -> Iterator[Measured]:
        for name, region in self.regions.items():
            values = energy_inside(maps, region)
            if np.isfinite(values).any():
                even = np.where(np.isfinite(values), proportion(region), np.nan)
                yield Measured(verdicts.REGIONS, name, values, even, EVEN, "not higher")

    def _mask_tests(self, maps: Tensor) -> Iterator[Measured]:
        """Yield the agreement with true regions, which belong to the grey images."""
        centre = centre_map(self.number, self.size)
        for name, region in self.selection.regions.items() if self.entry == keys.IMAGE else ():
            for measure, function in localisation.MEASURES.items():
                values = function(maps, region)
                for against, baseline in ((EVEN, proportion(region)), (CENTRE, function(centre, region))):
                    yield Measured(
                        verdicts.MASKS, f"{measure}, {name}, {against}", values, baseline, against, "higher"
                    )

    def _maps(self, explain: Explain, module: Classifier, again: bool = False) -> Tensor:
        """Return the maps of all pictures at their size.

        Args:
            explain: The method.
            module: The network.
            again: Whether the method gets another seed, and the pictures noise of one grey level.
        """
        rng = torch.Generator().manual_seed(self.seed)
        found = []
        for batch, target in zip(self.selection.batches, self.selection.targets, strict=True):
            if again:
                pictures = batch[self.entry]
                noise = torch.randint(-1, 2, pictures.shape, generator=rng).to(pictures.device)
                noisy = (pictures.int() + noise).clamp(0, 255).to(pictures.dtype)
                batch = {**batch, self.entry: noisy}
            maps = explain(module, batch, target, seed=self.seed + again).detach().float().cpu()
            found.append(at_size(maps, self.size, self.pictures.shape[2]))
        return torch.cat(found)

    def _curves(self, scan: Tensor) -> Iterator[Curves]:
        start = 0
        for batch, target in zip(self.selection.batches, self.selection.targets, strict=True):
            pictures = batch[self.entry]

            def score(changed: Tensor, batch: Batch = batch, target: Target = target) -> Tensor:
                return target(self.module({**batch, self.entry: changed}))

            yield Curves(score, pictures, scan[start : start + len(pictures)], self.seed)
            start += len(pictures)

    def _areas(self, maps: Tensor) -> dict[str, np.ndarray]:
        """Return the areas of `Curves.areas` for maps of all pictures; NaN where a map is not defined."""
        parts = maps.split([len(batch[self.entry]) for batch in self.selection.batches])
        areas = [curves.areas(part) for curves, part in zip(self.curves, parts, strict=True)]
        undefined = ~maps.flatten(1).isfinite().all(1).numpy()
        whole = {name: np.concatenate([each[name] for each in areas]) for name in areas[0]}
        return {name: np.where(undefined, np.nan, values) for name, values in whole.items()}

    def _whole(self, maps: Tensor) -> Tensor:
        """Return maps (N, S, S) for every frame of a clip."""
        if self.pictures.ndim == 4:
            return maps
        return maps.unsqueeze(1).expand(-1, self.pictures.shape[2], -1, -1)


def _regions(pictures: Tensor) -> dict[str, Tensor]:
    """Return what is no tissue in pictures (N, C, [T,] H, W), bool (N, H, W) each; some may be empty."""
    frames = pictures if pictures.ndim == 4 else pictures.amax(dim=2)
    found: dict[str, list[np.ndarray]] = {
        name: [] for name in (verdicts.OUTSIDE, verdicts.TEXT, verdicts.CALIPERS, verdicts.BORDER)
    }
    for picture in frames.to(torch.uint8).numpy():
        grey, scan = _scan(picture)
        drawn, border = burned_in(grey, scan), np.ones_like(scan)
        rim = max(len(grey) // BORDER_FRACTION, 1)
        border[rim:-rim, rim:-rim] = False
        calipers = drawn & scan
        calipers &= calipers.sum() >= FEWEST_PIXELS
        for name, region in zip(found, (~scan, drawn & ~scan, calipers, border), strict=True):
            found[name].append(region)
    return {name: torch.from_numpy(np.stack(regions)) for name, regions in found.items()}


def _scan(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the grey levels and the scan of a picture (C, H, W), uint8 and bool (H, W).

    A screen is grey: an elastogram that is coloured in most of its pixels is scan all over.
    """
    pixels = np.ascontiguousarray(picture.transpose(1, 2, 0))
    grey = to_grey(pixels if len(picture) == 3 else pixels[..., 0])
    coloured = np.ptp(pixels, axis=2) >= COLOURED  # of grey pictures none
    return grey, np.ones_like(coloured) if coloured.mean() > 1 / 2 else scan_mask(grey)
