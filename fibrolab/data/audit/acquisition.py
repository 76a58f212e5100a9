"""Acquisition and storage of images: properties unrelated to anatomy, and the class predicted from them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fibrolab import keys
from fibrolab.data.audit.evidence import Evidence, codes
from fibrolab.data.audit.protocols import Protocol

BORDERS = ("border_top", "border_bottom", "border_left", "border_right")
BORDER_STEP = 0.1  # of the side: a finer step would depend on dark anatomy that touches the border
TREES = 40


def joined(facts: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Join several columns of the survey into one text per file, (N,)."""
    return np.array([" ".join(map(str, row)) for row in zip(*(facts[name] for name in columns), strict=True)])


def border_shape(facts: pd.DataFrame) -> np.ndarray:
    """Return the black border on each side in tenths of the side, int64 (N, 4)."""
    return np.rint(facts[list(BORDERS)].to_numpy(float) / BORDER_STEP).astype(np.int64)


def rectangle(facts: pd.DataFrame) -> np.ndarray:
    """Return width and height of the rectangle cut from each image, in half octaves, int64 (N, 2).

    All zero where every image is used whole: the size of the image is a variable of its own.
    """
    whole = (facts["cut_width"] == facts["width"]) & (facts["cut_height"] == facts["height"])
    sides = facts[["cut_width", "cut_height"]].to_numpy(float)
    return np.rint(2 * np.log2(np.maximum(sides, 1))).astype(np.int64) * int(not whole.all())


def tables(evidence: Evidence) -> dict[str, np.ndarray]:
    """Return the trees' inputs, float64 (N, F): `acquisition`, and `metadata` with file size and grey levels.

    The mean and SD of grey levels, the proportion of black and the size of a compressed file also depend on
    the anatomy.
    """
    facts, table = evidence.facts, evidence.manifest.table
    categorical = [facts["mode"], facts["format"], table[keys.SCANNER], table[keys.SITE]]
    acquisition = np.column_stack(
        [
            facts[["width", "height", "cut_width", "cut_height"]].to_numpy(float),
            border_shape(facts),
            *(codes(column) for column in categorical),
        ]
    )
    levels = facts[["n_bytes", "mean", "sd", "black", *BORDERS]].to_numpy(float)
    return {"acquisition": acquisition, "metadata": np.column_stack([acquisition, levels])}


def tree_probabilities(table: np.ndarray, evidence: Evidence, protocol: Protocol) -> np.ndarray:
    """Predict class probabilities by extremely randomised trees (Geurts, Ernst and Wehenkel 2006).

    The trees that predict the samples of one fold are fitted to the other folds.

    Args:
        table: Inputs of the trees, float64 (N, F).
        evidence: The data.
        protocol: The folds, and the samples that are predicted.

    Returns:
        float64 (N, K); zero for a sample that is not predicted.
    """
    probabilities = np.zeros((len(table), len(evidence.classes)))
    for fold in np.unique(protocol.fold[protocol.scored]):
        training = np.flatnonzero((protocol.fold >= 0) & (protocol.fold != fold))
        scored = np.flatnonzero((protocol.fold == fold) & protocol.scored)
        if len(training) and len(scored):
            classes, labels = np.unique(evidence.labels[training], return_inverse=True)
            found = extra_trees(table[training], labels, table[scored], evidence.seed)
            probabilities[np.ix_(scored, classes)] = found
    return probabilities


def extra_trees(table: np.ndarray, labels: np.ndarray, others: np.ndarray, seed: int) -> np.ndarray:
    """Predict as scikit-learn's `ExtraTreesClassifier` of the same seed, in two thirds of its time.

    The forest copies and checks its settings several times for each tree, which takes longer than to fit a
    tree to some hundred samples.

    Args:
        table: Inputs of the trees, float64 (N, F).
        labels: Class of every row, 0 .. K-1 (N,).
        others: Inputs to predict, float64 (M, F).
        seed: Seed of the trees.

    Returns:
        Mean probabilities of the trees, float64 (M, K).
    """
    from sklearn import config_context
    from sklearn.tree import ExtraTreeClassifier

    table, others = (np.ascontiguousarray(part, np.float32) for part in (table, others))  # as the forest does
    seeds = np.random.RandomState(seed)
    total = np.zeros((len(others), int(labels.max()) + 1))
    with config_context(skip_parameter_validation=True):  # which takes a tenth of the time
        for _ in range(TREES):
            tree = ExtraTreeClassifier(min_samples_leaf=2, random_state=seeds.randint(2**31 - 1))
            total += tree.fit(table, labels, check_input=False).predict_proba(others, check_input=False)
    return total / TREES
