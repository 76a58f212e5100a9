"""Logistic regression on predictions of networks and clinical values, such as GM + LSM of paper 4."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fibrolab.errors import DataError

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FOLDS = 5  # of the cross-fitting
CLIP = 1e-6  # a float32 softmax rounds probabilities nearer to 0 or 1


def confidences(probabilities: np.ndarray) -> np.ndarray:
    """Convert probabilities to features: the logit for two classes, the logarithms for more.

    Args:
        probabilities: One column a class (N, K).

    Returns:
        float64 (N, 1) for two classes, otherwise (N, K).
    """
    logs = np.log(np.clip(probabilities, CLIP, 1.0 - CLIP))
    return logs[:, 1:] - logs[:, :1] if logs.shape[1] == 2 else logs


def fitted(features: np.ndarray, labels: np.ndarray, penalty: float = 1.0) -> "Pipeline":
    """Fit a multinomial logistic regression on standardised features.

    Paper 4 uses gradient descent and states no penalty. Without one, the coefficient of a feature that
    separates the classes perfectly has no finite optimum. A `penalty` of 1 on standardised features has
    little weight beside hundreds of samples.

    Args:
        features: Without missing values (N, D).
        labels: Class indices (N,).
        penalty: Weight, above 0, of half the squared coefficients, added to the summed log loss;
            scikit-learn's 1 / C.

    Returns:
        Scaler and regression in a scikit-learn pipeline.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0 / penalty, max_iter=1000))
    return model.fit(features, labels)


def cross_fitted(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    classes: Sequence[str],
    penalty: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """Predict every sample by a regression fitted without its group, float64 (N, K).

    Args:
        features: As for `fitted` (N, D).
        labels: Class indices (N,).
        groups: Group of each sample, kept in one fold (N,).
        classes: Names of the K classes.
        penalty: As for `fitted`.
        seed: Seed of the folds; there are five, or as many as the smallest class has groups.

    Raises:
        DataError: A class has fewer than two groups, or all of its groups fell into one fold.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    held = [len(np.unique(groups[labels == k])) for k in range(len(classes))]
    if min(held) < 2:
        few = ", ".join(f"{name} ({n})" for name, n in zip(classes, held, strict=True) if n < 2)
        raise DataError(
            f"The regression is cross-fitted over groups, so that each class needs two groups; too few: "
            f"{few}. Stack runs of a task that merges these classes."
        )
    folds = StratifiedGroupKFold(min(FOLDS, *held), shuffle=True, random_state=seed)
    predicted = np.empty((len(labels), len(classes)))
    for fit, rest in folds.split(features, labels, groups):
        if len(np.unique(labels[fit])) < len(classes):
            raise DataError(
                "All groups of a class fell into one fold of the regression; choose another seed."
            )
        predicted[rest] = fitted(features[fit], labels[fit], penalty).predict_proba(features[rest])
    return predicted


def described(model: "Pipeline", names: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """Return a fitted regression as numbers for JSON, which suffice to apply it by hand.

    Args:
        model: As `fitted` returns it.
        names: Names of the D features.
        classes: Names of the K classes.

    Returns:
        Mean and SD of each feature, and for each class (of two classes only the second) the intercept and
        each feature's coefficient on the standardised scale.
    """
    scaler, regression = model[0], model[1]
    fitted_classes = list(classes[1:] if len(classes) == 2 else classes)
    coefficients = [dict(zip(names, map(float, row), strict=True)) for row in regression.coef_]
    return {
        "mean": dict(zip(names, map(float, scaler.mean_), strict=True)),
        "sd": dict(zip(names, map(float, scaler.scale_), strict=True)),
        "intercept": dict(zip(fitted_classes, map(float, regression.intercept_), strict=True)),
        "coefficients": dict(zip(fitted_classes, coefficients, strict=True)),
    }
