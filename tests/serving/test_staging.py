"""The networks of a server, and the thread that they belong to."""

import asyncio
import threading
from functools import cached_property
from typing import Any

import pytest

from fibrolab.runs import answering
from fibrolab.serving.staging import Staging


class NamesThreads:
    """A run whose networks name the thread in which they are loaded."""

    def refuse_without_classifier(self) -> None:
        pass

    @cached_property
    def predictors(self) -> list[str]:
        return [threading.current_thread().name]


def test_networks_are_loaded_in_the_thread_that_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    def rules(run: NamesThreads, alpha: float) -> dict[str, Any]:
        return {"of": run.predictors}  # the first that asks for them loads them

    monkeypatch.setattr(answering, "rules", rules)
    staging = Staging(NamesThreads(), 0.9)  # type: ignore[arg-type]
    name = asyncio.run(staging._queued(lambda: threading.current_thread().name))
    assert staging.run.predictors == [name]
    assert name != threading.current_thread().name
