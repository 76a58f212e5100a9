"""Targets: the score that a map explains, for every loss."""

import pytest
import torch

from fibrolab.errors import ConfigError
from fibrolab.explanation.target_scores import Task, build_target, target_fault
from fibrolab.losses import LOSSES, build_loss

CLASSES = ["F0", "F1", "F2", "F3", "F4"]
ENDPOINTS = {"ge_F2": 2, "F4_only": 4}
STAGED = sorted(set(LOSSES) - {"binary"})


def task_and_logits(loss: str) -> tuple[Task, torch.Tensor, torch.Tensor]:
    criterion = build_loss(loss, 5)
    logits = torch.randn(6, criterion.num_logits, generator=torch.manual_seed(0))
    if loss == "coral":
        logits = logits.sort(dim=1, descending=True).values  # as at its optimum
    return Task(criterion, CLASSES, ENDPOINTS), logits, criterion.probabilities(logits)


@pytest.mark.parametrize("loss", STAGED)
def test_an_end_point_is_explained_by_its_log_odds(loss: str) -> None:
    task, logits, probabilities = task_and_logits(loss)
    target, names = build_target("ge_F2", task, probabilities)
    positive = probabilities[:, 2:].sum(1)
    torch.testing.assert_close(target(logits), (positive / (1 - positive)).log(), atol=1e-4, rtol=1e-4)
    assert names == ["ge_F2"] * 6


@pytest.mark.parametrize("loss", STAGED)
def test_two_stages_are_explained_by_their_log_ratio(loss: str) -> None:
    task, logits, probabilities = task_and_logits(loss)
    target, _ = build_target("F3-F1", task, probabilities)
    expected = (probabilities[:, 3] / probabilities[:, 1]).log()
    torch.testing.assert_close(target(logits), expected, atol=1e-4, rtol=1e-4)


def test_the_predicted_and_the_true_class_are_those_of_each_sample() -> None:
    task, logits, probabilities = task_and_logits("cross_entropy")
    chosen = probabilities.argmax(1)
    target, names = build_target("predicted", task, probabilities)
    torch.testing.assert_close(target(logits), logits.max(1).values)
    assert names == [CLASSES[k] for k in chosen]
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    target, names = build_target("true", task, probabilities, labels)
    torch.testing.assert_close(target(logits), logits[range(6), labels])
    assert names == ["F0", "F1", "F2", "F3", "F4", "F0"]


@pytest.mark.parametrize("loss", ["corn", "coral"])
def test_a_class_of_an_ordinal_loss_is_explained_by_its_log_odds(loss: str) -> None:
    task, logits, probabilities = task_and_logits(loss)
    target, _ = build_target("F2", task, probabilities)
    own = probabilities[:, 2]
    torch.testing.assert_close(target(logits), (own / (1 - own)).log(), atol=1e-4, rtol=1e-4)


def test_a_very_sure_prediction_still_has_a_slope() -> None:
    task, _, _ = task_and_logits("cross_entropy")
    logits = torch.tensor([[200.0, 0, 0, 0, 0]], requires_grad=True)
    target, _ = build_target("ge_F2", task, task.loss.probabilities(logits))
    (slope,) = torch.autograd.grad(target(logits).sum(), logits)
    assert slope[0, 0] == pytest.approx(-1, abs=1e-4)


def test_an_unknown_target_and_unlabelled_samples_are_refused() -> None:
    assert target_fault("ge_F3", CLASSES, ENDPOINTS) == (
        "explain.target: there is no 'ge_F3'. It is one of: F0, F1, F2, F3, F4, F4_only, ge_F2, predicted, "
        "true. Did you mean ge_F2? Or give the difference of two classes: F4-F3."
    )
    assert target_fault("F3-F3", CLASSES, ENDPOINTS)
    task, _, probabilities = task_and_logits("cross_entropy")
    for labels in (None, torch.tensor([0, 1, -1, 0, 0, 0])):
        with pytest.raises(ConfigError, match=r"explain.target=true needs the true class"):
            build_target("true", task, probabilities, labels)
