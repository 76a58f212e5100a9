"""The branch that takes numbers instead of pixels: liver stiffness, age, serum values."""

from collections.abc import Sequence
from itertools import chain, pairwise

import torch
from torch import Tensor, nn

from fibrolab import keys
from fibrolab.choices import refuse, unknown

COLUMNS = (
    keys.LSM_KPA,
    keys.AGE_YEARS,
    keys.SEX,
    keys.AST_U_L,
    keys.AST_ULN_U_L,
    keys.ALT_U_L,
    keys.PLATELETS_1E9_L,
)


class ClinicalBranch(nn.Module):
    """Clinical values, some of them not measured -> dense layers -> features.

    A value is standardised to (x - mean) / sd of the training samples; a value that was not measured becomes
    0, the mean. A second column per value is 1 where it was not measured and 0 elsewhere, so that the network
    can distinguish a missing value from an average one (missing-indicator method: Groenwold et al.,
    CMAJ 184:1265, 2012).

    Args:
        columns: Names of the manifest columns.
        mean: Mean of each column over the training samples that have it, (D,), in the units of the batch.
        sd: Standard deviation of each column, (D,); a constant column is only centred.
        hidden: Units of the dense layers, each followed by ReLU; if empty, the 2 D numbers are the features.
        places: Indices of the columns in the batch's values; by default the batch holds only these columns.

    Attributes:
        columns: Names of the manifest columns.
        num_features: Units of the last layer, or 2 D.
        frozen: False: the branch is trained from scratch with the head.

    Raises:
        ConfigError: A column is unknown or repeated, no column is given, or a width is not positive.
    """

    mean: Tensor
    sd: Tensor

    def __init__(
        self,
        columns: Sequence[str],
        mean: Sequence[float],
        sd: Sequence[float],
        hidden: Sequence[int] = (16,),
        places: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        refuse(faults(columns, hidden))
        self.columns = tuple(columns)
        self.places = list(range(len(columns)) if places is None else places)
        spread = torch.tensor(sd, dtype=torch.float32)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("sd", torch.where(spread > 0, spread, 1.0))
        widths = [2 * len(columns), *hidden]
        dense = ((nn.Linear(*sizes), nn.ReLU()) for sizes in pairwise(widths))
        self.layers = nn.Sequential(*chain.from_iterable(dense))
        self.num_features = widths[-1]
        self.frozen = False

    def forward(self, values: Tensor) -> Tensor:
        """Return features (B, num_features) of values (B, columns of the batch), NaN where not measured."""
        values = values[:, self.places]  # (B, D)
        unmeasured = values.isnan()
        standard = ((values - self.mean) / self.sd).masked_fill(unmeasured, 0)
        features: Tensor = self.layers(torch.cat([standard, unmeasured.to(standard.dtype)], dim=1))
        return features

    def depths(self) -> dict[str, int]:
        """Return the depth of every parameter: the number of dense layers before it."""
        return {name: int(name.split(".")[1]) // 2 for name, _ in self.named_parameters()}

    def at_epoch(self, epoch: int) -> None:
        """Do nothing: all parameters train from the first epoch on."""


def faults(columns: object, hidden: object) -> list[str]:
    """Return a sentence on each fault of the columns and layers."""
    if not isinstance(columns, Sequence) or isinstance(columns, str) or not columns:
        return [f"columns: {columns} is not a list of clinical columns. Give some of: {', '.join(COLUMNS)}."]
    found = [unknown("columns", name, COLUMNS) for name in columns if name not in COLUMNS]
    if len(set(columns)) < len(columns):
        found.append(f"columns: {', '.join(map(str, columns))} repeats a column. Name each once.")
    if not isinstance(hidden, Sequence) or not all(isinstance(n, int) and n >= 1 for n in hidden):
        found.append(f"hidden: {hidden} is not a list of widths. Give the units of each layer, such as [16].")
    return found
