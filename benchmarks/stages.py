"""Seconds and peak memory of one stage of a benchmark, printed as it ends."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def staged(name: str, work: Callable[[], Any]) -> Any:
    """The result of `work`; printed are its seconds and the process's peak memory meanwhile."""
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts over
    before, start = reading(os.getpid(), "status", "VmRSS"), time.perf_counter()
    result = work()
    seconds, peak = time.perf_counter() - start, reading(os.getpid(), "status", "VmHWM")
    print(f"{name:28} {seconds:8.2f} s   peak {peak:6.0f} MiB   (began with {before:.0f})", flush=True)
    return result


def reading(pid: int, file: str, field: str) -> float:
    """A number of `/proc/PID/FILE` [MiB]."""
    text = (Path("/proc") / str(pid) / file).read_text()
    return int(re.search(rf"{field}:\s+(\d+) kB", text)[1]) / 2**10  # type: ignore[index]
