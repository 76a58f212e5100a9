"""Runs compared in the MLflow UI, in a real browser."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import chromium

from fibrolab.tracking import track


@pytest.fixture
def server(tmp_path: Path, fresh_database: Path) -> Iterator[tuple[str, dict[str, str]]]:
    shutil.copy(fresh_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["ui", "--backend-store-uri", uri, "--port", str(port), "--workers", "1"]
    process = subprocess.Popen([sys.executable, "-m", "mlflow", *words], cwd=tmp_path)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/health")
        yield address, {"uri": uri, "experiment": "compared", "artifacts": str(tmp_path / "artifacts")}
    finally:
        process.terminate()
        process.wait(120)


def _wait_for(address: str, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(address, timeout=2)
            return
        except OSError:
            assert time.monotonic() < until, f"no response at {address}"
            time.sleep(0.5)


@pytest.mark.slow
def test_compared_runs_show_params_and_metrics(server: tuple[str, dict[str, str]]) -> None:
    from playwright.sync_api import expect

    address, place = server
    ids = []
    for model, accuracy in (("single", 0.61), ("hybrid", 0.72)):
        with track(**place, name=f"{model}-run", tags={"model": model}) as tracked:
            tracked.log_params({"model.name": model, "optimizer.lr": 0.001})
            tracked.log_metrics({"test/accuracy": accuracy})
            ids.append(f'"{tracked.id}"')
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(f"{address}/#/compare-runs?runs=[{','.join(ids)}]&experiments=[%22{experiment(place)}%22]")
        for text in ("single-run", "hybrid-run", "model.name", "0.61", "0.72"):
            expect(page.get_by_text(text).first).to_be_visible(timeout=30_000)


def experiment(place: dict[str, str]) -> str:
    from mlflow.tracking import MlflowClient

    found = MlflowClient(tracking_uri=place["uri"]).get_experiment_by_name(place["experiment"])
    assert found is not None
    return str(found.experiment_id)
