"""Whether probabilities are worth what they say: log loss, Brier score, expected calibration error.

The first two are proper (Gneiting and Raftery, J Am Stat Assoc 102:359-378, 2007): nothing beats saying what
one believes. The third tells by how much an answer's confidence misses its accuracy, and nothing of how often
it is right. As in `metrics`, each takes weights (R, N) and gives R values, NaN where no sample counts.
"""

import numpy as np

from fibrolab.evaluation.measures.weighted import Weights, ratio

BINS = 15
LEAST = float(np.finfo(np.float64).eps)  # a probability of 0 for what came true would be an endless loss


def log_losses(y_true: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Minus the logarithm of the probability of what came true [nats], float64 (N,).

    A probability of 0 counts as 2.2e-16, as in scikit-learn: 36 nats.
    """
    return -np.log(np.maximum(probabilities[np.arange(len(y_true)), y_true], LEAST))


def squared_errors(y_true: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Brier's score of each sample, float64 (N,): 0 .. 2 for three classes or more, 0 .. 1 for two.

    Brier, Monthly Weather Review 78:1-3, 1950: the squared errors of all classes, summed. Of two classes,
    whose errors are equal, one is counted: as clinical prediction reports it and scikit-learn computes it,
    so that a coin scores .25.
    """
    happened = np.eye(probabilities.shape[1])[y_true]
    errors = ((probabilities - happened) ** 2).sum(axis=1)
    return errors / 2.0 if probabilities.shape[1] == 2 else errors


def expected_calibration_error(
    y_true: np.ndarray, probabilities: np.ndarray, weights: Weights | None = None
) -> np.ndarray:
    """Mean distance of confidence from accuracy of the most probable class, float64 (R,).

    Guo et al., ICML 2017, equation 3, in 15 bins; not of equal width but of equal numbers of samples, as in
    Nixon et al., CVPR Workshops 2019, since these bias it less (Roelofs et al., AISTATS 2022). Samples of one
    confidence share a bin. What bias remains is upward and grows as samples get few: of perfect probabilities
    of five classes the ECE comes to about .14 on 100 samples and .04 on 1,000. Resamples add to it again, so
    that its bootstrap intervals lie too high.
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
    # Whole weights are compared as whole numbers, lest rounding moves a sample to the next bin.
    edges = np.stack([np.searchsorted(BINS * row, row[-1] * steps, side="right") for row in weight])
    edges[:, 0] = 0
    inside = np.diff(np.take_along_axis(gap, edges, axis=1), axis=1)  # (R, bins)
    return ratio(np.abs(inside).sum(axis=1), total)
