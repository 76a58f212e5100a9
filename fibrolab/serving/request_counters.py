"""Measurements of the server in the format of Prometheus: requests, waiting times, answers and doubts."""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fibrolab.runs import answering
from fibrolab.serving.staging import Row, Staging

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # upper ends of the histogram's bins


class Measurements:
    """Counters of one server.

    Args:
        staging: The networks, whose queue is measured.
    """

    def __init__(self, staging: Staging) -> None:
        self._registry = own = CollectorRegistry()
        ProcessCollector(registry=own)
        self._requests = Counter("fibrolab_requests", "Requests", ["path", "status"], registry=own)
        self._seconds = Histogram(
            "fibrolab_request_seconds", "Time to answer a request", ["path"], buckets=SECONDS, registry=own
        )
        self._samples = Counter("fibrolab_samples", "Staged samples", ["predicted"], registry=own)
        self._failed = Counter("fibrolab_samples_without_answer", "Samples without an answer", registry=own)
        self._doubts = Counter("fibrolab_doubts", "Answers with a doubt", ["doubt"], registry=own)
        waiting = Gauge("fibrolab_waiting", "Requests that wait for the network or use it", registry=own)
        waiting.set_function(lambda: staging.waiting)

    def count(self, samples: Iterable[Row]) -> None:
        """Count the answers to samples."""
        for row in samples:
            if row[answering.ERROR]:
                self._failed.inc()
                continue
            self._samples.labels(row[answering.PREDICTED]).inc()
            for doubt in (answering.COPY, answering.UNLIKE, answering.DISAGREEMENT):
                if row.get(doubt):
                    self._doubts.labels(doubt).inc()

    def text(self) -> bytes:
        """Return all measurements."""
        return generate_latest(self._registry)

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)


class Measured:
    """Measure each request to a known path.

    Args:
        app: The server behind it.
        measurements: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, measurements: Measurements) -> None:
        self.app, self.measurements = app, measurements

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it when its answer is sent."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self.measurements.observe(path, status, time.perf_counter() - started)
