"""Tests of maps, tested on a network whose true map is known, and with methods that are known to fail."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from small_classifier import settings
from torch import Tensor, nn

from fibrolab import keys
from fibrolab.explanation import testing, verdicts
from fibrolab.explanation.deletion_insertion import FRACTIONS
from fibrolab.explanation.testing import MAPS, Selection, rows_to_test, run_tests
from fibrolab.modules.base import Batch, Classifier

SIZE, NUMBER, PATCH = 32, 12, (slice(6, 14), slice(16, 26))
SCAN = (slice(4, 28), slice(4, 28))  # the rest is a black screen
TARGET = 4


class PatchNetwork(nn.Module):
    """A network that sees the mean brightness of a patch, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.zeros(SIZE, SIZE)
        weight[PATCH] = 1
        self.weight = nn.Parameter(weight / weight.sum())

    def forward(self, images: Tensor) -> Tensor:
        return (images.mean(1) * self.weight).sum(dim=(1, 2))[:, None]


def gradient_x_input(module: Classifier, batch: Batch, target: Any, seed: int = 0) -> Tensor:
    images = batch[keys.IMAGE].float().requires_grad_()
    with torch.enable_grad():
        gradient = torch.autograd.grad(target(module({**batch, keys.IMAGE: images})).sum(), images)[0]
    return (gradient * images)[:, 0].detach()


def edges(module: Classifier, batch: Batch, target: Any, seed: int = 0) -> Tensor:
    """Return the edges of the picture, which know nothing of the network (Adebayo et al. 2018, section 5)."""
    images = batch[keys.IMAGE][:, 0].float()
    return (images - images.roll(1, dims=2)).abs() + 1e-3 * images


def dice(module: Classifier, batch: Batch, target: Any, seed: int = 0) -> Tensor:
    return torch.rand(len(batch[keys.IMAGE]), 4, 4, generator=torch.Generator().manual_seed(seed))


def screen(module: Classifier, batch: Batch, target: Any, seed: int = 0) -> Tensor:
    """Return heat on what lies beside the scan."""
    heat = torch.ones(len(batch[keys.IMAGE]), SIZE, SIZE) + torch.rand(SIZE, SIZE)
    heat[:, SCAN[0], SCAN[1]] = 0.1
    return heat


def logit(logits: Tensor) -> Tensor:
    return logits[:, TARGET]


METHODS = {"gradient": gradient_x_input, "edges": edges, "dice": dice, "screen": screen}


@pytest.fixture(scope="module")
def module() -> Classifier:
    backbone = {"name": "patch", "_target_": f"{__name__}.PatchNetwork", "scaling": "unit"}
    built = Classifier(**settings(branches={"image": backbone}, image_size=SIZE)).eval()
    (last,) = [layer for layer in built.network.head.modules() if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        last.weight[:, 0] = 9 * torch.arange(-2.0, 3.0)
        last.bias.zero_()
    return built


@pytest.fixture(scope="module")
def selection() -> Selection:
    rng = np.random.default_rng(0)
    pictures = np.zeros((NUMBER, 1, SIZE, SIZE), np.uint8)
    pictures[:, 0, SCAN[0], SCAN[1]] = rng.integers(20, 120, (NUMBER, 24, 24))
    pictures[:, 0, PATCH[0], PATCH[1]] += rng.integers(40, 130, (NUMBER, 8, 10), dtype=np.uint8)
    region = torch.zeros(NUMBER, SIZE, SIZE, dtype=torch.bool)
    region[:, PATCH[0], PATCH[1]] = True
    parts = torch.from_numpy(pictures).split([5, 7])
    batches = [{keys.IMAGE: part, keys.LABEL: torch.arange(len(part)) % 5} for part in parts]
    return Selection(batches, [logit, logit], [f"p{row}" for row in range(NUMBER)], {"the patch": region})


@pytest.fixture(scope="module")
def tested(module: Classifier, selection: Selection) -> tuple[pd.DataFrame, list[Any]]:
    explainers = {(name, "image"): method for name, method in METHODS.items()}
    return run_tests(module, selection, explainers, resamples=200)


def results(tested: tuple[pd.DataFrame, list[Any]], method: str, test: str) -> pd.DataFrame:
    table, _ = tested
    return table[(table.method == method) & (table.test == test)]


def test_the_true_map_passes_what_edges_and_dice_fail(tested) -> None:
    passed = {
        method: {test for test in verdicts.FAILURES if (results(tested, method, test).passed != False).all()}  # noqa: E712
        for method in METHODS
    }
    assert {verdicts.WEIGHTS, verdicts.REPEATED, verdicts.DELETION, verdicts.INSERTION} <= passed["gradient"]
    assert not {verdicts.WEIGHTS, verdicts.LABELS} & passed["edges"]
    assert not {verdicts.REPEATED, verdicts.DELETION, verdicts.INSERTION} & passed["dice"]


def test_the_true_map_is_found_in_its_region(tested) -> None:
    rows = results(tested, "gradient", verdicts.MASKS)
    assert rows.passed.all()
    assert (rows[rows.measure.str.startswith("energy")].value > 0.95).all()
    assert not results(tested, "dice", verdicts.MASKS).passed.any()


def test_heat_beside_the_scan_is_a_finding(tested) -> None:
    _, findings = tested
    (finding,) = [
        each for each in findings if each.key == "heat_outside_sector" and "screen" in each.sentence
    ]
    (row,) = results(tested, "screen", verdicts.REGIONS).query("measure == @verdicts.OUTSIDE").itertuples()
    assert row.value > 0.85 > row.reference
    assert not row.passed
    assert finding.level == "warning"
    assert f"{100 * row.value:.1f}" in finding.sentence
    assert not [each for each in findings if "gradient" in each.sentence and each.key.startswith("heat")]


def test_a_verdict_names_what_fails_and_why(tested) -> None:
    table, findings = tested
    verdict = table[table.test == verdicts.VERDICT].set_index("method")
    assert verdict.passed.to_dict()["edges"] is False
    assert "fails" in verdict.sentence["edges"]
    assert "its maps survive random weights" in verdict.sentence["edges"]
    assert "no better than a random map" in verdict.sentence["dice"]
    failing = [each.sentence for each in findings if each.key == "map_fails_its_tests"]
    assert any(sentence.startswith("edges of branch image") for sentence in failing)


def test_tests_cost_at_most_ten_maps(selection: Selection) -> None:
    """A map by one forward and one backward pass takes three times as long as a forward pass."""
    calls, passes = [], []
    module = Classifier(**settings())

    def counted(*arguments: Any, **settings: Any) -> Tensor:
        calls.append(1)
        return edges(*arguments, **settings)

    def with_counter(number: int) -> tuple[int, int]:
        del calls[:], passes[:]
        names = [f"m{n}" for n in range(number)]
        hook = module.network.register_forward_hook(lambda *_: passes.append(1))
        explainers = {(name, "image"): counted for name in names}
        run_tests(module, selection, explainers, resamples=2)
        hook.remove()
        return len(calls), len(passes)

    (maps, once), (_, twice) = with_counter(1), with_counter(2)
    batches = len(selection.batches)
    assert maps == MAPS * batches
    assert twice - once == 2 * len(FRACTIONS) * batches
    assert MAPS + 2 * len(FRACTIONS) / 3 <= 10


def test_networks_of_one_run_are_compared(module: Classifier, selection: Selection) -> None:
    explainers = {("gradient", "image"): gradient_x_input}
    table, _ = run_tests(module, selection, explainers, networks=[module], resamples=50)
    rows = table[table.test == verdicts.NETWORKS]
    assert len(rows) == 2
    assert np.allclose(rows.value, 1)
    assert rows.passed.all()


def test_one_patient_gives_no_judgement(module: Classifier, selection: Selection) -> None:
    alone = Selection(selection.batches, selection.targets, ["p0"] * NUMBER)
    table, findings = run_tests(module, alone, {("edges", "image"): edges}, resamples=50)
    assert table.passed.isna().all()
    assert "too few groups" in table.sentence[0]
    assert not [each for each in findings if each.level == "warning"]


def test_samples_without_the_input_are_left_out(module: Classifier, selection: Selection) -> None:
    def gaps(*arguments: Any, **settings: Any) -> Tensor:
        maps = gradient_x_input(*arguments, **settings)
        maps[0] = torch.nan
        return maps

    explainers = {("gaps", "image"): gaps}
    table, _ = run_tests(module, selection, explainers, resamples=50)
    assert table[table.test != verdicts.VERDICT].value.notna().all()


def test_results_are_written_and_read_back(tested, tmp_path: Path) -> None:
    table, findings = tested
    testing.write(tmp_path, table, findings)
    stored = pd.read_csv(tmp_path / testing.TESTS_FILE)
    assert list(stored) == list(verdicts.COLUMNS)
    assert len(stored) == len(table)
    read = json.loads((tmp_path / testing.FINDINGS_FILE).read_text())
    assert [each["key"] for each in read] == [each.key for each in findings]


def test_tested_samples_are_spread_over_all() -> None:
    assert rows_to_test(5) == [0, 1, 2, 3, 4]
    rows = rows_to_test(1000)
    assert (len(rows), rows[0], rows[-1]) == (testing.MOST, 0, 999)


@pytest.mark.parametrize(
    ("backbone", "method"), [("test_resnet", "gradcam"), ("test_vit", "attention_rollout")]
)
def test_methods_of_every_kind_are_tested(backbone: str, method: str, selection: Selection) -> None:
    torch.manual_seed(1)
    built = Classifier(**settings(branches={"image": {"name": backbone}}))
    table, _ = run_tests(built, selection, testing.explainers([method], ["image"]), resamples=50)
    rows = table[(table.test == verdicts.REPEATED) & (table.measure == "SSIM")]
    assert rows.value.item() > 0.8
    if method == "attention_rollout":  # which knows neither the head nor the target
        assert not table[table.test == verdicts.LABELS].passed.any()


def test_maps_of_clips_have_the_same_tests() -> None:
    branches = {"clip": {"name": "test_resnet", "input": "clip", "frames": {"name": "average"}}}
    built = Classifier(**settings(branches=branches))
    clips = torch.randint(0, 256, (6, 1, 4, SIZE, SIZE), dtype=torch.uint8)
    given = Selection([{keys.CLIP: clips}], [logit], [f"p{row}" for row in range(6)])
    table, _ = run_tests(built, given, testing.explainers(["gradcam"], ["clip"]), resamples=50)
    assert set(verdicts.FAILURES) - {verdicts.NETWORKS} <= set(table.test)
    assert table[table.test.isin([verdicts.DELETION, verdicts.INSERTION])].value.notna().all()


def test_an_elastogram_is_scan_all_over_and_a_capture_of_it_only_within_its_scan() -> None:
    rng = np.random.default_rng(0)
    pictures = np.zeros((2, 3, SIZE, SIZE), np.uint8)
    pictures[0, 2] = 230  # soft tissue is blue
    pictures[0, 0, 10:20, 10:20] = rng.integers(120, 256, (10, 10))  # a stiff part
    pictures[1, :, SCAN[0], SCAN[1]] = rng.integers(60, 256, (24, 24))  # grey, with a box of colours
    pictures[1, :2, 12:20, 12:20] = 0
    regions = testing._regions(torch.from_numpy(pictures))
    outside = regions[verdicts.OUTSIDE]
    assert not outside[0].any()
    assert not outside[1, 12:20, 12:20].any()
    assert outside[1, : SCAN[0].start].all()
    assert outside[1].float().mean() < 0.5
    assert not regions[verdicts.TEXT].any()


@pytest.mark.parametrize(
    ("region", "heat", "even", "keys_of"),
    [
        (verdicts.BORDER, 0.240, 0.234, []),
        (verdicts.BORDER, 0.246, 0.234, ["heat_at_border"]),
        (verdicts.CALIPERS, 0.005, 0.002, ["heat_at_calipers"]),
        (verdicts.CALIPERS, 0.003, 0.002, []),
        (verdicts.OUTSIDE, 0.605, 0.600, ["heat_outside_sector"]),  # a note
    ],
)
def test_heat_that_hardly_exceeds_an_even_map_s_is_no_warning(
    region: str, heat: float, even: float, keys_of: list[str]
) -> None:
    values = heat + 1e-5 * np.arange(NUMBER)
    measured = verdicts.Measured(
        verdicts.REGIONS, region, values, np.full(NUMBER, even), testing.EVEN, "not higher"
    )
    results = verdicts.judge([measured], [f"p{row}" for row in range(NUMBER)], resamples=50)
    found = verdicts.findings("Grad-CAM", "image", results)
    assert results[0].passed is False, "certainly more"
    assert [each.key for each in found] == keys_of
    assert {each.level for each in found} <= {"note" if region == verdicts.OUTSIDE else "warning"}
