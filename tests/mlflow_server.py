"""A real MLflow server that a test starts, stops and starts again."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from mlflow.tracking import MlflowClient


class Server:
    """An MLflow server with a database and artifacts of its own, at one address."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.uri = folder, f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        place = ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        far = ["--artifacts-destination", str(self.folder / "far"), "--port", str(self.port)]
        words = [sys.executable, "-m", "mlflow", "server", *place, *far, "--workers", "1"]
        self._process = subprocess.Popen(words, start_new_session=True)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.5)
        raise AssertionError(f"no server on port {self.port}")

    def stop(self) -> None:
        """Take it away at once with all its processes: a polite end answers requests for seconds more."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(120)
            self._process = None

    @property
    def client(self) -> MlflowClient:
        """A client of it."""
        return MlflowClient(tracking_uri=self.uri)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """A started server, stopped at the end."""
    folder.mkdir()
    server = Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
