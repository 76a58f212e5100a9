"""Rules that turn a map into a mask."""

import numpy as np
import pytest

from fibrolab.allowed import ALLOWED
from fibrolab.evaluation.segmentation.image_measures import MaskPair, iou
from fibrolab.explanation.mask_rules import CANDIDATES, RULES, chosen_threshold, mask_of, overlaps
from fibrolab.runs.pseudo_masks import FIXED, rule_in_words

SIDE = 48
Y, X = np.mgrid[:SIDE, :SIDE]
PEAK = 3 * np.exp(-((Y - 20) ** 2 + (X - 25) ** 2) / 200).astype(np.float32)  # largest value 3, at (20, 25)
SQUARE = (abs(Y - 20) <= 12) & (abs(X - 25) <= 12)
PICTURE = np.where(SQUARE, 180, 40).astype(np.uint8)


def test_the_paper_s_rule_takes_the_pixels_above_half_of_the_largest_value() -> None:
    mask, threshold = mask_of(PEAK, PICTURE, "maximum", 0.5)
    radius = np.hypot(Y - 20, X - 25)
    assert threshold == 0.5
    assert np.array_equal(mask, radius**2 <= 200 * np.log(2))


def test_a_percentile_leaves_that_proportion_out() -> None:
    mask, threshold = mask_of(
        PEAK + np.random.default_rng(0).normal(0, 1e-3, PEAK.shape), PICTURE, "percentile", 0.9
    )
    assert mask.mean() == pytest.approx(0.1, abs=0.001)
    assert 0 < threshold < 1


def test_otsu_parts_two_levels_wherever_they_lie() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, PEAK.shape)
    mask, threshold = mask_of(np.where(SQUARE, 1.0, 0.8) + noise, PICTURE, "otsu", 0.5)
    assert (mask == SQUARE).mean() > 0.99
    assert 0.8 < threshold < 1  # a threshold of 0.5 would take every pixel


@pytest.mark.parametrize("enlarged", [1, 8])  # above 256 px it works in a smaller picture
def test_the_random_walker_follows_the_edges_of_the_picture(enlarged: int) -> None:
    heat, picture, true = (np.kron(each, np.ones((enlarged, enlarged))) for each in (PEAK, PICTURE, SQUARE))
    walked, _ = mask_of(heat, picture.astype(np.uint8), "random_walker", 0.5)
    cut, _ = mask_of(heat, picture.astype(np.uint8), "maximum", 0.5)
    scores = [iou(MaskPair(true > 0, mask, np.ones(true.shape, bool))) for mask in (walked, cut)]
    assert scores[0] > 0.9 > scores[1] + 0.1


@pytest.mark.parametrize("rule", RULES)
def test_a_mask_holds_nothing_where_the_network_saw_nothing_or_no_heat(rule: str) -> None:
    seen = PEAK.copy()
    seen[:, 25:] = np.nan
    mask, _ = mask_of(seen, PICTURE, rule, 0.5)
    assert mask[:, :25].any()
    assert not mask[:, 25:].any()
    for empty in (np.zeros_like(PEAK), -PEAK):
        mask, threshold = mask_of(empty, PICTURE, rule, 0.5)
        assert not mask.any()
        assert np.isnan(threshold)


def test_the_threshold_with_the_best_mean_overlap_is_chosen() -> None:
    true = np.where(PEAK >= 0.3 * 3, 1, 0)
    true[:, 40:] = -1  # without a label
    found = np.array([overlaps(PEAK, PICTURE, "maximum", true)])
    best = max(CANDIDATES, key=lambda t: iou(MaskPair(true == 1, 3 * t <= PEAK, true >= 0)))
    assert chosen_threshold(found) == best == 0.3
    assert found.max() == pytest.approx(1, abs=0.01)
    assert chosen_threshold(np.ones((2, len(CANDIDATES)))) == 0.5  # nothing to choose by


def test_the_settings_allow_every_rule_and_the_report_describes_each() -> None:
    assert ALLOWED["explain.mask_rule"].words == f"one of {', '.join(RULES)}"
    assert len({rule_in_words(rule, 0.5, FIXED) for rule in RULES}) == len(RULES)
