"""Progress bar of the long loops over data."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
_silent = ContextVar("silent", default=False)


@contextmanager
def within_one() -> Iterator[None]:
    """Show no bar of the loops within this block: one of a longer loop around it is shown."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


def track(items: Iterable[T], total: int, task: str) -> Iterator[T]:
    """Yield the items and show a progress bar; without a terminal, print one line at the end."""
    if _silent.get():
        yield from items
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    if not sys.stderr.isatty():
        yield from items
        print(f"{task}: {total} done", file=sys.stderr)
        return
    from rich.console import Console

    with Progress(*columns, console=Console(stderr=True)) as bar:
        handle = bar.add_task(task, total=total)
        for item in items:
            yield item
            bar.advance(handle)
