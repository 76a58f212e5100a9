"""Seconds and peak memory of one stage of a benchmark, printed as it ends."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Stage(NamedTuple):
    """Cost of a stage: wall seconds, CPU seconds of the process, peak resident memory [MiB]."""

    name: str
    seconds: float
    busy: float
    peak: float


def staged(
    name: str, work: Callable[[], Any], bound: float | None = None, into: list[Stage] | None = None
) -> Any:
    """Call a function, print its wall and CPU seconds and its peak memory, and return its result.

    Args:
        name: Name in the output.
        work: The function, which is called once.
        bound: Seconds that it may take, to print the proportion used.
        into: List that the stage is appended to.
    """
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = reading(os.getpid(), "status", "VmRSS")
    start, busy = time.perf_counter(), time.process_time()
    result = work()
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    peak = reading(os.getpid(), "status", "VmHWM")
    used = f"   {seconds / bound:4.0%} of {bound:.0f} s" if bound else ""
    print(
        f"{name:28} {seconds:8.2f} s (busy {busy:.2f})   peak {peak:6.0f} MiB   (began with {before:.0f})"
        f"{used}",
        flush=True,
    )
    if into is not None:
        into.append(Stage(name, seconds, busy, peak))
    return result


def reading(pid: int, file: str, field: str) -> float:
    """Read a number of `/proc/PID/FILE` [MiB]."""
    text = (Path("/proc") / str(pid) / file).read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", text)[1]) / 2**10  # type: ignore[index]
