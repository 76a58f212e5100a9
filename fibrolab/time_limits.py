"""Calls that wait for another machine, with a limit."""

import threading
from collections.abc import Callable


def call_within(seconds: float, call: Callable[[], object]) -> None:
    """Run `call` with a time limit; HTTP time limits do not cover a name server that does not respond.

    Raises:
        TimeoutError: `call` has not ended in time.
        Exception: Whatever `call` raised.
    """
    faults: list[Exception] = []

    def attempt() -> None:
        try:
            call()
        except Exception as fault:
            faults.append(fault)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no response within {seconds:.0f} s")
    if faults:
        raise faults[0]
