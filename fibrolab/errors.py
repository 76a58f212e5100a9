"""Errors that a user can correct. Each states what was given, what is allowed and what to do."""

from collections.abc import Sequence

LISTED = 20  # faults listed in a message; further ones are only counted


class FibrolabError(Exception):
    """A fault of the input, not of the code: printed as a sentence, without a traceback."""


class ConfigError(FibrolabError):
    """A setting that is missing, unknown or contradicts another."""


class DataError(FibrolabError):
    """Files or tables that cannot be used as they are."""


class UnreadableImageError(DataError):
    """A file that is not a complete image."""


class SplitError(FibrolabError):
    """A split that is impossible with this data, or that would leak patients into the test set."""


class UndrawableSplitError(SplitError):
    """A valid split for which this data set is too small."""


class AuditError(FibrolabError):
    """An audit with the verdict `fail` under `audit.strict=true`."""


class WeightsError(FibrolabError):
    """Weights that cannot be found or downloaded, or do not fit."""


class TrainingError(FibrolabError):
    """A training that cannot continue, for example because the loss is not finite."""


class StorageError(FibrolabError):
    """A disk that is full or a folder that cannot be written."""


class InUseError(FibrolabError):
    """A run that another process trains or sends now."""


def listing(faults: Sequence[str]) -> str:
    """Return one line per fault; after the first twenty, only the number of further faults."""
    lines = [f"  - {fault}" for fault in faults[:LISTED]]
    if len(faults) > LISTED:
        lines.append(f"  - and {len(faults) - LISTED} more")
    return "\n".join(lines)
