"""The trained run: opened by its id or folder, loaded from its checkpoint, compared with new data."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fibrolab.runs.trained_run import TrainedRun as TrainedRun
    from fibrolab.runs.trained_run import open_run as open_run


def __getattr__(name: str) -> Any:
    """Import `open_run` and `TrainedRun` at their first use."""
    if name in ("open_run", "TrainedRun"):
        from fibrolab.runs import trained_run

        return getattr(trained_run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
