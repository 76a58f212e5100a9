"""Similarity of two heat maps of the same picture, by structure (SSIM) and by rank correlation."""

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn.functional import interpolate

SMALLEST = 11  # [px]: side of SSIM's window


def at_size(maps: Tensor, size: int, frames: int = 1) -> Tensor:
    """Resize maps (B, h, w) to (B, size, size), or those of clips (B, t, h, w) to (B, frames, size, size)."""
    shape = (size, size) if maps.ndim == 3 else (frames, size, size)
    mode = "bilinear" if maps.ndim == 3 else "trilinear"
    if maps.shape[1:] == shape:
        return maps
    return interpolate(maps[:, None].float(), size=shape, mode=mode, align_corners=False).squeeze(1)


def scaled(maps: Tensor) -> Tensor:
    """Scale each map (B, ...) to 0..1; a constant map, which has no structure, becomes NaN."""
    flat = maps.double().flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return torch.where(high > low, (flat - low) / (high - low), torch.nan).view(maps.shape)


def ssim(first: Tensor, second: Tensor) -> np.ndarray:
    """Compute the structural similarity of maps after scaling each to 0..1, (B,); frames are averaged.

    Wang et al., IEEE Trans Image Process 13(4), 600-612, 2004, equation 13, with its Gaussian window of
    11 x 11 px. NaN where a map is constant.

    Args:
        first: Maps (B, h, w) or (B, t, h, w); enlarged to the window if they are smaller.
        second: The maps to compare with, of the same shape.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    side = max(first.shape[-1], SMALLEST)
    frames = [at_size(scaled(maps).flatten(0, -3), side).unsqueeze(1) for maps in (first, second)]
    values = structural_similarity_index_measure(frames[0], frames[1], data_range=1.0, reduction="none")
    return np.asarray(values).reshape(len(first), -1).mean(axis=1)


def rank_correlation(first: Tensor, second: Tensor) -> np.ndarray:
    """Compute Spearman's correlation over the pixels of each pair of maps (B, ...), with mean ranks of ties.

    NaN where a map is constant.
    """
    ranks = [rankdata(maps.flatten(1).numpy(), axis=1) for maps in (first, second)]
    left, right = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    spread = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    product = (left * right).sum(axis=1)
    return np.divide(product, spread, out=np.full(len(product), np.nan), where=spread > 0)


MEASURES = {"SSIM": ssim, "rank correlation": rank_correlation}


def similarities(first: Tensor, second: Tensor) -> dict[str, np.ndarray]:
    """Return every measure of similarity of maps (B, ...) to others, (B,) each.

    NaN where the first map is constant; 0 where only the second is, since nothing of the first is left.
    """
    gone = (scaled(first).isfinite() & ~scaled(second).isfinite()).flatten(1).all(1).numpy()
    return {name: np.where(gone, 0.0, measure(first, second)) for name, measure in MEASURES.items()}


def of_other_pictures(maps: Tensor, seed: int = 0) -> dict[str, np.ndarray]:
    """Return the similarity of each map to that of another picture, by the same network.

    It is the reference for randomised networks of Arun et al., Radiology: Artificial Intelligence 3(6),
    e200267, 2021 (arXiv 2008.02766): maps that keep more of themselves without the weights than two pictures
    share do not depend on what was learnt.

    Args:
        maps: (B, ...), of two pictures or more.
        seed: Seed of the pairs; each picture is paired with another one.
    """
    order = np.random.default_rng(seed).permutation(len(maps))
    partner = np.empty_like(order)
    partner[order] = np.roll(order, 1)
    return similarities(maps, maps[torch.from_numpy(partner)])
