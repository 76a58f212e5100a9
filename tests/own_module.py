"""A module of a user's own: a subclass whose forward pass is not its parent's."""

from torch import Tensor

from fibrolab.modules.classifiers import SingleClassifier


class Negated(SingleClassifier):
    """Predicts from the negated logits."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return -super().forward(batch)
