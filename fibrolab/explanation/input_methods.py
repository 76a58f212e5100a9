"""Attributions to the pixels of an input, for any network: integrated gradients and occlusion."""

from collections.abc import Callable

from torch import Tensor

Score = Callable[[Tensor], Tensor]  # from images (B, C, ...) to scores (B,)
STEPS = 32  # points of the Gauss-Legendre rule
WINDOWS = 8  # windows along each side of the image, without their overlap
WINDOWS_OF_TIME = 4  # windows along a clip


def integrated_gradients(score: Score, images: Tensor) -> Tensor:
    """Integrate the gradient from a black image to the image (Sundararajan et al., ICML 2017, equation 1).

    The sum over all pixels is the score of the image less that of a black one. Black means no echo.

    Args:
        score: The score of images.
        images: float (B, C, H, W), or clips (B, C, T, H, W), in 0..255.

    Returns:
        Sum over the channels, (B, H, W) or (B, T, H, W).
    """
    from captum.attr import IntegratedGradients  # late: it loads much, and class activation maps need none

    found: Tensor = IntegratedGradients(score).attribute(
        images, baselines=0.0, n_steps=STEPS, internal_batch_size=len(images)
    )
    return found.sum(1).detach()


def occlusion(score: Score, images: Tensor) -> Tensor:
    """Compute the loss of score when a window is grey, averaged over windows (Zeiler & Fergus, ECCV 2014).

    A window has an eighth of the image's side, and a quarter of a clip's frames; windows overlap by half.
    Grey is the mean of each image, so that the brightness of the rest changes little.

    Args:
        score: The score of images.
        images: float (B, C, H, W), or clips (B, C, T, H, W), in 0..255.

    Returns:
        (B, H, W) or (B, T, H, W).
    """
    from captum.attr import Occlusion

    channels, *frames, height, width = images.shape[1:]
    times = [max(1, count // WINDOWS_OF_TIME) for count in frames]
    sides = [max(1, side // WINDOWS) for side in (height, width)]
    grey = images.flatten(2).mean(2).view(*images.shape[:2], *(1 for _ in images.shape[2:]))
    found: Tensor = Occlusion(score).attribute(
        images,
        sliding_window_shapes=(channels, *times, *sides),
        strides=(channels, *times, *(max(1, side // 2) for side in sides)),
        baselines=grey.expand_as(images),
    )
    return found.mean(1).detach()  # a window covers all channels, which have the same value
