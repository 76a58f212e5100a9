"""Losses of segmentations: identities, MONAI's values, pixels without a label."""

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional as F

from fibrolab.errors import ConfigError
from fibrolab.mask_classes import IGNORED
from fibrolab.pixel_losses import PIXEL_LOSSES, SMOOTH, build_pixel_loss, signed_distances

CLASSES = ["background", "liver", "lesion"]
CONF = Path(__file__).parents[2] / "conf" / "loss"


def batch(classes: int = 3, side: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(4, classes, side, side, generator=draw)
    return logits, torch.randint(0, classes, (4, side, side), generator=draw)


def perfect(labels: torch.Tensor) -> torch.Tensor:
    return 40 * F.one_hot(labels, len(CLASSES)).movedim(-1, 1).float()


@pytest.mark.parametrize("name", sorted(PIXEL_LOSSES))
def test_every_config_builds_a_loss_with_a_gradient_that_is_least_for_the_true_mask(name: str) -> None:
    given = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    loss = build_pixel_loss(classes=CLASSES, **given)  # type: ignore[arg-type]
    logits, labels = batch()
    loss(logits.requires_grad_(), labels).backward()
    assert logits.grad is not None
    assert (logits.grad.abs().amax(dim=(2, 3)) > 0).all()
    assert float(loss(perfect(labels), labels)) < float(loss(logits.detach(), labels))


@pytest.mark.parametrize("name", sorted(PIXEL_LOSSES))
def test_pixels_without_a_label_change_no_loss_and_get_no_gradient(name: str) -> None:
    loss = build_pixel_loss(name, CLASSES)
    logits, labels = batch()
    labels[:, :, 6:] = IGNORED
    other = logits.clone()
    other[:, :, :, 6:] *= -3
    torch.testing.assert_close(loss(logits, labels), loss(other, labels))
    loss(logits.requires_grad_(), labels).backward()
    assert logits.grad is not None
    assert not logits.grad[:, :, :, 6:].any()
    assert float(loss(logits, torch.full_like(labels, IGNORED))) == 0


@pytest.mark.parametrize("name", sorted(PIXEL_LOSSES))
def test_the_mean_of_equal_parts_of_a_batch_is_the_loss_of_the_whole(name: str) -> None:
    loss, (logits, labels) = build_pixel_loss(name, CLASSES), batch()
    parts = [loss(logits[rows], labels[rows]) for rows in torch.arange(4).split(2)]
    torch.testing.assert_close(torch.stack(parts).mean(), loss(logits, labels))


def test_dice_and_cross_entropy_are_those_of_monai_and_torch() -> None:
    from monai.losses import DiceLoss

    logits, labels = batch()
    theirs = DiceLoss(include_background=False, softmax=True, smooth_nr=SMOOTH, smooth_dr=SMOOTH)
    dice = theirs(logits, F.one_hot(labels, 3).movedim(-1, 1))
    torch.testing.assert_close(build_pixel_loss("dice", CLASSES)(logits, labels), dice)
    entropy = F.cross_entropy(logits, labels)
    torch.testing.assert_close(build_pixel_loss("binary_cross_entropy", CLASSES)(logits, labels), entropy)
    torch.testing.assert_close(
        build_pixel_loss("dice_cross_entropy", CLASSES)(logits, labels), dice + entropy
    )


def test_with_one_class_the_cross_entropy_is_the_binary_one_of_the_difference() -> None:
    logits, labels = batch(2)
    expected = F.binary_cross_entropy_with_logits(logits[:, 1] - logits[:, 0], labels.float())
    loss = build_pixel_loss("binary_cross_entropy", CLASSES[:2])
    torch.testing.assert_close(loss(logits, labels), expected)


def test_a_class_that_an_image_lacks_costs_nothing_if_it_is_not_predicted() -> None:
    empty = torch.zeros(2, 8, 8, dtype=torch.int64)
    assert float(build_pixel_loss("dice", CLASSES)(perfect(empty), empty)) == pytest.approx(0, abs=1e-5)


def test_distances_to_the_boundary_are_negative_inside_and_grow_outside() -> None:
    inside = np.zeros((1, 2, 7, 7), bool)
    inside[0, 0, 2:5, 2:5] = True
    distances = signed_distances(inside)
    assert distances[0, 0, 3].tolist() == [2, 1, 0, -1, 0, 1, 2]
    assert not distances[0, 1].any()


def test_an_unknown_setting_or_a_loss_of_samples_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"loss\.alpha: 1 is not a proportion"):
        build_pixel_loss("boundary", CLASSES, alpha=1)
    with pytest.raises(ConfigError, match="there is no 'focal'"):
        build_pixel_loss("focal", CLASSES)
