"""Losses of segmentations by name; pixels without a label count in none of them."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from fibrolab.errors import ConfigError
from fibrolab.losses import Loss, build_loss
from fibrolab.mask_classes import IGNORED

SMOOTH = 1.0  # [pixels] added to both sides of Dice's ratio: an empty class without a prediction costs 0


class PixelLoss(Loss):
    """A mean over the images of logits (B, K, H, W) and targets (B, H, W), in which `IGNORED` has no label.

    A subclass defines `per_image`. An image without any label costs 0.
    """

    def per_sample(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each image, (B,)."""
        known = labels != IGNORED  # (B, H, W)
        loss = self.per_image(logits, labels.clamp(min=0), known)
        return torch.where(known.any(dim=(1, 2)), loss, 0.0)

    @abstractmethod
    def per_image(self, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        """Return the loss of each image, (B,).

        Args:
            logits: Output of the network, float32 (B, K, H, W).
            labels: Class of each pixel, int64 (B, H, W); that of an unknown pixel is arbitrary.
            known: Which pixels have a label, bool (B, H, W).
        """


class CrossEntropy(PixelLoss):
    """Mean of -log p_y over the labelled pixels: with one class besides the background the binary one."""

    def per_image(self, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        """Return the mean cross-entropy of the labelled pixels of each image."""
        losses = F.cross_entropy(logits, labels, reduction="none") * known
        return losses.sum(dim=(1, 2)) / known.sum(dim=(1, 2)).clamp(min=1)


class Dice(PixelLoss):
    """1 - (2 sum p g + s) / (sum p + sum g + s), averaged over the classes but the background.

    Milletari, Navab, Ahmadi: V-Net, 3DV 2016, with plain instead of squared sums, p the softmax, g the target
    and s = 1 pixel, for each image.
    """

    def per_image(self, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        """Return one minus the soft Dice of each image."""
        predicted, target = _foreground(logits, labels, known)
        both = (predicted * target).sum(dim=(2, 3))
        total = predicted.sum(dim=(2, 3)) + target.sum(dim=(2, 3))
        return 1 - ((2 * both + SMOOTH) / (total + SMOOTH)).mean(dim=1)


class DiceCrossEntropy(PixelLoss):
    """The sum of `Dice` and `CrossEntropy`, as in nnU-Net (Isensee et al., Nature Methods 18, 2021)."""

    def __init__(self, num_classes: int, weight: Tensor | None = None) -> None:
        super().__init__(num_classes, weight)
        self.dice, self.cross_entropy = Dice(num_classes), CrossEntropy(num_classes)

    def per_image(self, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        """Return the sum of both losses of each image."""
        return self.dice.per_image(logits, labels, known) + self.cross_entropy.per_image(
            logits, labels, known
        )


class Boundary(PixelLoss):
    """(1 - alpha) `Dice` + alpha times the mean of p phi over the labelled pixels.

    phi is the signed distance to the target's boundary, negative within it, as a proportion of the image's
    longer side; it is 0 for a class that the image lacks. Kervadec et al., MIDL 2019, eq. 5. The boundary
    term alone has no useful gradient far from the target, so it is added to a regional loss. Distances are
    computed on the CPU.
    """

    def __init__(self, num_classes: int, weight: Tensor | None = None, *, alpha: float = 0.5) -> None:
        super().__init__(num_classes, weight)
        if not (isinstance(alpha, int | float) and 0 <= alpha < 1):
            raise ConfigError(f"loss.alpha: {alpha} is not a proportion. Give a number from 0 to below 1.")
        self.alpha, self.dice = alpha, Dice(num_classes)

    def per_image(self, logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        """Return the weighted sum of both parts of each image."""
        predicted, target = _foreground(logits, labels, known)
        distances = signed_distances(target.cpu().numpy() > 0) / max(labels.shape[1:])
        products = predicted * torch.from_numpy(distances).to(predicted)
        pixels = known.sum(dim=(1, 2)).clamp(min=1)
        boundary = products.sum(dim=(2, 3)).mean(dim=1) / pixels
        return (1 - self.alpha) * self.dice.per_image(logits, labels, known) + self.alpha * boundary


def signed_distances(inside: np.ndarray) -> np.ndarray:
    """Return the distance of each pixel to the boundary [px], negative inside, float32 (B, K, H, W).

    Args:
        inside: Pixels of each class, bool (B, K, H, W); a class without pixels has distances of 0.
    """
    found = np.zeros(inside.shape, np.float32)
    for image, number in np.argwhere(inside.any(axis=(2, 3))):
        mask = inside[image, number]
        found[image, number] = ndimage.distance_transform_edt(~mask)
        found[image, number] -= np.maximum(ndimage.distance_transform_edt(mask) - 1, 0)
    return found


def _foreground(logits: Tensor, labels: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return probabilities and targets of the classes but the background, 0 where unknown, (B, K-1, H, W)."""
    target = F.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    known = known[:, None]
    return (logits.softmax(dim=1) * known)[:, 1:], (target * known)[:, 1:]


PIXEL_LOSSES: dict[str, type[Loss]] = {
    "binary_cross_entropy": CrossEntropy,
    "dice": Dice,
    "dice_cross_entropy": DiceCrossEntropy,
    "boundary": Boundary,
}


def build_pixel_loss(name: str, classes: Sequence[str], **settings: Any) -> Loss:
    """Build the loss of logits (B, K, H, W) and targets (B, H, W).

    Args:
        name: One of `PIXEL_LOSSES`; with `_target_`, any name.
        classes: Names of the K classes, background first.
        **settings: Settings of the loss, and `_target_`, see `fibrolab.losses.build_loss`.

    Raises:
        ConfigError: The name or a setting is unknown, or a number is out of range.
    """
    return build_loss(name, len(classes), ordered=False, classes=classes, losses=PIXEL_LOSSES, **settings)
