"""The faults a user can mend. Each says what was given, what is allowed and what to do."""

from collections.abc import Sequence

LISTED = 20  # faults named in a message; a longer list is counted


class FibrolabError(Exception):
    """A fault of the input, not of the code: printed as a sentence, without a traceback."""


class ConfigError(FibrolabError):
    """A setting that is missing, unknown or contradicts another."""


class DataError(FibrolabError):
    """Files or tables that cannot be used as they are."""


class UnreadableImageError(DataError):
    """One file that is not a whole image."""


class SplitError(FibrolabError):
    """A split that the data does not allow, or that would leak."""


class UndrawableSplitError(SplitError):
    """A split that is asked for rightly, and that this data is too small for."""


class AuditError(FibrolabError):
    """Data or a split on which a score would prove nothing, where that was to be an error."""


class WeightsError(FibrolabError):
    """Weights that cannot be found, fetched or fitted."""


class TrainingError(FibrolabError):
    """Training that cannot go on, such as a loss that is not finite."""


class StorageError(FibrolabError):
    """A disk that is full or a folder that cannot be written."""


def listing(faults: Sequence[str]) -> str:
    """Return the faults, a line each; beyond the first twenty only their number."""
    lines = [f"  - {fault}" for fault in faults[:LISTED]]
    if len(faults) > LISTED:
        lines.append(f"  - and {len(faults) - LISTED} more")
    return "\n".join(lines)
