"""Quality of predicted probabilities: log loss, Brier score, expected calibration error.

The first two are proper scores (Gneiting and Raftery, J Am Stat Assoc 102:359-378, 2007): the true
probabilities minimise them. The third is the distance of confidence from accuracy and does not measure
discrimination.
"""

import numpy as np

from fibrolab.evaluation.measures.weighted import Weights, ratio

BINS = 15
LEAST = float(np.finfo(np.float64).eps)  # a probability of 0 for the true class would be an infinite loss


def log_losses(y_true: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute minus the logarithm of the probability of the true class [nats], float64 (N,).

    A probability of 0 counts as 2.2e-16, as in scikit-learn: 36 nats.
    """
    return -np.log(np.maximum(probabilities[np.arange(len(y_true)), y_true], LEAST))


def squared_errors(y_true: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute the Brier score of each sample, float64 (N,): 0 to 2, of two classes 0 to 1.

    Brier, Monthly Weather Review 78:1-3, 1950: the squared errors summed over classes. Of two
    classes, whose errors are equal, one is counted, as in clinical prediction and in scikit-learn, so that a
    probability of one half scores .25.
    """
    happened = np.eye(probabilities.shape[1])[y_true]
    errors = ((probabilities - happened) ** 2).sum(axis=1)
    return errors / 2.0 if probabilities.shape[1] == 2 else errors


def expected_calibration_error(
    y_true: np.ndarray, probabilities: np.ndarray, weights: Weights | None = None
) -> np.ndarray:
    """Compute the mean distance of confidence from accuracy of the most probable class, float64 (R,).

    Guo et al., ICML 2017, equation 3, in 15 bins of equal numbers of samples rather than equal width (Nixon
    et al., CVPR Workshops 2019), which bias it less (Roelofs et al., AISTATS 2022). Samples of equal
    confidence share a bin. The remaining bias is upward and grows as samples get fewer: with perfect
    probabilities of five classes the ECE is about .14 on 100 samples and .04 on 1,000. Resampling adds the
    same bias again, so that bootstrap intervals lie too high.
    """
    if weights is None:
        weights = np.ones((1, len(y_true)))
    confidence = probabilities.max(axis=1)
    order = np.argsort(confidence, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(confidence[order]) > 0, True))  # last of each confidence
    gaps = (probabilities.argmax(axis=1) == y_true) - confidence
    sorted_weights = weights[:, order]
    weight = np.cumsum(sorted_weights, axis=1)[:, ends]  # (R, distinct confidences)
    gap = np.zeros((len(weights), len(ends) + 1))
    gap[:, 1:] = np.cumsum(np.multiply(sorted_weights, gaps[order], out=sorted_weights), axis=1)[:, ends]
    total = weight[:, -1]
    steps = np.arange(BINS + 1)
    # Integer weights are compared as integers, so that rounding moves no sample to the next bin.
    edges = np.stack([np.searchsorted(BINS * row, row[-1] * steps, side="right") for row in weight])
    edges[:, 0] = 0
    inside = np.diff(np.take_along_axis(gap, edges, axis=1), axis=1)  # (R, bins)
    return ratio(np.abs(inside).sum(axis=1), total)
