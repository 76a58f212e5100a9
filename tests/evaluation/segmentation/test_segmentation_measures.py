"""Measures of masks: identities, empty masks, distances of MONAI, intervals, areas, calibration."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from fibrolab import keys
from fibrolab.errors import DataError
from fibrolab.evaluation.measures.catalogue import MASK_METRICS
from fibrolab.evaluation.segmentation import agreement, image_measures, images, scores
from fibrolab.evaluation.segmentation.image_measures import MaskPair
from fibrolab.reporting import numbers

MASKS = arrays(bool, (6, 7))
ALL = np.ones((6, 7), bool)


@given(true=MASKS, predicted=MASKS)
def test_overlaps_keep_their_identities(true: np.ndarray, predicted: np.ndarray) -> None:
    pair, swapped = MaskPair(true, predicted, ALL), MaskPair(predicted, true, ALL)
    iou, dice = image_measures.iou(pair), image_measures.dice(pair)
    assert dice == pytest.approx(2 * iou / (1 + iou))
    assert 0 <= iou <= dice <= 1
    for measure in (image_measures.iou, image_measures.dice, image_measures.hd95, image_measures.asd):
        assert measure(pair) == pytest.approx(measure(swapped), nan_ok=True)
    itself = MaskPair(true, true, ALL)
    assert image_measures.dice(itself) == image_measures.iou(itself) == 1
    if true.any():
        assert image_measures.hd95(itself) == image_measures.asd(itself) == 0


@given(true=MASKS, predicted=MASKS, known=MASKS)
def test_pixels_without_a_label_change_nothing(
    true: np.ndarray, predicted: np.ndarray, known: np.ndarray
) -> None:
    for metric in MASK_METRICS:
        one = metric.function(MaskPair(true & known, predicted, known))
        other = metric.function(MaskPair(true | ~known, predicted ^ ~known, known))
        assert one == pytest.approx(other, nan_ok=True)


@settings(max_examples=30)
@given(true=MASKS, predicted=MASKS)
def test_rates_are_those_of_scikit_learn(true: np.ndarray, predicted: np.ndarray) -> None:
    from sklearn.metrics import jaccard_score, recall_score

    pair = MaskPair(true, predicted, ALL)
    if true.any():
        assert image_measures.sensitivity(pair) == pytest.approx(
            recall_score(true.ravel(), predicted.ravel())
        )
        assert image_measures.iou(pair) == pytest.approx(jaccard_score(true.ravel(), predicted.ravel()))
    if not true.all():
        expected = recall_score(~true.ravel(), ~predicted.ravel())
        assert image_measures.specificity(pair) == pytest.approx(expected)


def test_empty_masks_follow_the_stated_convention() -> None:
    none = np.zeros_like(ALL)
    both, missed = MaskPair(none, none, ALL), MaskPair(ALL, none, ALL)
    assert image_measures.dice(both) == image_measures.iou(both) == 1
    assert image_measures.dice(missed) == image_measures.iou(missed) == 0
    assert math.isnan(image_measures.sensitivity(both))
    assert math.isnan(image_measures.specificity(missed))
    assert math.isnan(image_measures.hd95(both))
    assert math.isnan(image_measures.asd(missed))


def blobs(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(40, 50))
    return ndimage.gaussian_filter(noise, 4) > 0.02


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_those_of_monai(seed: int) -> None:
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    true, predicted = blobs(seed), blobs(seed + 100)
    pair = MaskPair(true, predicted, np.ones_like(true), (0.5, 0.25))
    both = [torch.from_numpy(mask)[None, None].float() for mask in (predicted, true)]
    given = {"include_background": True, "spacing": (0.5, 0.25)}
    assert image_measures.hd95(pair) == pytest.approx(
        float(compute_hausdorff_distance(*both, percentile=95, **given)), rel=1e-6
    )
    assert image_measures.asd(pair) == pytest.approx(
        float(compute_average_surface_distance(*both, symmetric=True, **given)), rel=1e-6
    )


def test_a_shift_by_three_pixels_is_a_distance_of_three_pixels() -> None:
    true = np.zeros((20, 20), bool)
    true[5:10, 5:10] = True
    pair = MaskPair(true, np.roll(true, 3, axis=1), np.ones_like(true), (2.0, 0.5))
    assert image_measures.hd95(pair) == 1.5
    assert image_measures.areas(pair) == (25, 25)


def table(patients: int = 8, several: int = 3, classes: tuple[str, ...] = ("liver",)) -> pd.DataFrame:
    """Return measures of test images whose Dice depends on the patient, and of a poor baseline."""
    rng, rows = np.random.default_rng(0), []
    for number in range(patients * several):
        patient = number // several
        about = {
            keys.SAMPLE_ID: f"s{number}", keys.GROUP_ID: f"P{patient}", keys.PATIENT_ID: f"P{patient}",
            keys.SITE: "", keys.PARTITION: keys.TEST, keys.FOLD: 0, images.UNIT: "px",
        }  # fmt: skip
        for of, level in ((images.NETWORK, 0.8), (images.MEAN_MASK, 0.3)):
            for name in classes:
                dice = level + 0.1 * np.sin(patient) + rng.normal(0, 0.01)
                values = {metric.name: dice for metric in MASK_METRICS}
                areas = {images.AREA_TRUE: 100.0, images.AREA_PREDICTED: 100 + 10 * dice}
                rows.append({**about, images.OF: of, images.CLASS: name, **values, **areas})
    return pd.DataFrame(rows)


def test_metrics_are_means_over_images_with_clustered_intervals_beside_the_baseline() -> None:
    given = table()
    found = scores.score(given, resamples=200).loc["dice"]
    network = given[given[images.OF] == images.NETWORK]["dice"]
    assert found["value"] == pytest.approx(network.mean())
    assert found["baseline"] == pytest.approx(given[given[images.OF] == images.MEAN_MASK]["dice"].mean())
    alone = scores.score(given.assign(**{keys.GROUP_ID: given[keys.SAMPLE_ID]}), resamples=200).loc["dice"]
    assert found["high"] - found["low"] > 1.3 * (alone["high"] - alone["low"])


def test_measures_against_maps_are_called_agreement_and_never_mixed_with_those_against_true_masks() -> None:
    true, maps = (table().assign(**{images.AGAINST: kind}) for kind in (images.TRUE_MASKS, images.MAPS))
    maps["iou"] /= 2
    both = pd.concat([maps, true], ignore_index=True)
    alone = scores.score(table(), resamples=50)
    assert scores.score(both, resamples=50).equals(alone)  # true masks, where there are some
    agreement = scores.score(both, resamples=50, against=images.MAPS)
    assert list(agreement.index) == [f"agreement_with_maps_{name}" for name in alone.index]
    assert agreement["value"]["agreement_with_maps_iou"] == pytest.approx(alone["value"]["iou"] / 2)
    assert scores.score(maps, resamples=50).equals(agreement)
    title = numbers.title("agreement_with_maps_iou")
    assert title == "IoU, agreement with the classifier's maps, not with anatomy"
    rows = numbers.headline(agreement.reset_index(names="metric"))
    assert [row.baseline_name for row in rows] == ["mean training mask"] * 3
    with pytest.raises(DataError, match="against true masks and the other against maps"):
        scores.paired(true, maps)


def test_an_undefined_measure_counts_nothing_and_classes_have_their_own_rows() -> None:
    given = table(classes=("liver", "lesion"))
    empty = (given[images.CLASS] == "lesion") & (given.index % 3 > 0)
    given.loc[empty, "hd95"] = np.nan
    found = scores.score(given, resamples=50)
    kept = given[(given[images.OF] == images.NETWORK) & (given[images.CLASS] == "lesion")]["hd95"]
    assert found["value"]["hd95_lesion"] == pytest.approx(kept.mean())
    assert {"dice", "dice_liver", "dice_lesion"} <= set(found.index)
    uneven = given[~((given[keys.PATIENT_ID] == "P0") & (given[keys.SAMPLE_ID] != "s0"))]
    by_patient = scores.score(uneven, by_patient=True, resamples=50)
    network = uneven[uneven[images.OF] == images.NETWORK]
    assert by_patient["value"]["dice"] == pytest.approx(
        network.groupby(keys.PATIENT_ID)["dice"].mean().mean()
    )


def test_a_partition_without_images_is_refused() -> None:
    with pytest.raises(DataError, match="No validation image was segmented"):
        scores.score(table(), keys.VALIDATION)


def test_arms_are_compared_by_image_and_only_on_the_same_images() -> None:
    ours, theirs = table(), table()
    theirs["dice"] = theirs["dice"] - 0.1
    found = scores.paired(ours, theirs, resamples=50).loc["dice"]
    assert found["value"] == pytest.approx(0.1)
    assert found["sd"] == pytest.approx(0, abs=1e-12)  # images are paired: their differences are all equal
    with pytest.raises(DataError, match="different images"):
        scores.paired(ours, theirs[theirs[keys.PATIENT_ID] != "P0"])


def test_the_limits_of_agreement_allow_for_several_images_of_a_group() -> None:
    given = table(patients=40)
    (row,) = agreement.bland_altman(given).to_dict("records")
    differences = 10 * given[given[images.OF] == images.NETWORK]["dice"]
    assert row["bias"] == pytest.approx(differences.mean())
    assert row["sd"] == pytest.approx(differences.std(), rel=0.1)
    single = agreement.bland_altman(given.drop_duplicates([keys.PATIENT_ID, images.OF])).iloc[0]
    alone = differences[::3]
    assert single["high"] - single["low"] == pytest.approx(2 * 1.96 * alone.std())


def test_calibrated_pixels_have_no_error_and_unknown_ones_count_nothing() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=(200, 200))
    true = (rng.uniform(size=p.shape) < p).astype(int)
    true[:, 150:] = -1
    counts = pd.DataFrame(agreement.binned(np.stack([1 - p, p]), true, ["background", "liver"]))
    found = agreement.calibration(counts.assign(**{keys.PARTITION: keys.TEST}))
    assert found["pixels"].sum() == 200 * 150
    assert found["ece"].iloc[0] < 0.02
    worse = pd.DataFrame(agreement.binned(np.stack([1 - p**3, p**3]), true, ["background", "liver"]))
    assert agreement.calibration(worse.assign(**{keys.PARTITION: keys.TEST}))["ece"].iloc[0] > 0.1


@given(st.integers(0, 2**16))
def test_a_row_holds_the_measures_of_its_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(-1, 3, (5, 6)), rng.integers(0, 3, (5, 6))
    for number, row in enumerate(images.measured(true, predicted, ["none", "a", "b"], (1.0, 1.0)), start=1):
        known = true >= 0
        both = ((true == number) & (predicted == number)).sum()
        total = (true == number).sum() + ((predicted == number) & known).sum()
        assert row["dice"] == pytest.approx(2 * both / total if total else 1)
        assert row[images.AREA_TRUE] == (true == number).sum()
