"""A sweep in the MLflow UI, as a user looks at it: list, run, comparison and artifacts, in a real browser."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from chromium import chromium
from mlflow.tracking import MlflowClient

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first test makes the sweep
TRAINING = "workflowType=machine_learning"  # instead of MLflow's view of language models


class Shown(NamedTuple):
    """A tab of the browser, the address of the experiment, and the ids of the jobs by name."""

    page: "Page"
    experiment: str
    jobs: dict[str, str]


@pytest.fixture(scope="module")
def shown(sweep: tuple[Path, str]) -> Iterator[Shown]:
    root, _ = sweep
    uri = f"sqlite:///{root}/mlruns/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("fibrolab").experiment_id
    found = client.search_runs([experiment], "tags.`mlflow.parentRunId` != ''")
    jobs = {run.info.run_name: run.info.run_id for run in found}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["ui", "--backend-store-uri", uri, "--port", str(port), "--workers", "1"]
    process = subprocess.Popen([sys.executable, "-m", "mlflow", *words], cwd=root)
    try:
        with chromium() as browser:
            page = browser.new_page(viewport={"width": 2400, "height": 1200})
            page.set_default_timeout(60_000)
            _wait_for(f"http://127.0.0.1:{port}/health")
            yield Shown(page, f"http://127.0.0.1:{port}/#/experiments/{experiment}", jobs)
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


def test_the_list_of_runs_nests_the_jobs_of_a_sweep_under_its_name(shown: Shown) -> None:
    page = shown.page
    page.goto(f"{shown.experiment}/runs?{TRAINING}")
    row = page.get_by_role("gridcell").filter(has_text="single-phantom: lr, loss")
    row.get_by_role("button").first.click()
    for name in shown.jobs:
        page.get_by_text(name).first.wait_for()
    page.get_by_text("phantom (").first.wait_for()  # the data set
    for column in ("best/accuracy", "optimizer.lr"):
        page.get_by_role("button", name="Columns", exact=True).click()
        page.get_by_placeholder("Search columns").fill(column)
        page.get_by_text(column, exact=True).last.click()
        page.keyboard.press("Escape")
    rate = page.get_by_text("0.001", exact=True).first
    rate.wait_for()
    assert rate.is_visible()


def test_the_page_of_a_run_begins_with_its_summary(shown: Shown) -> None:
    page = shown.page
    page.goto(f"{shown.experiment}/runs/{shown.jobs['lr=0.003 focal single-phantom']}")
    for text in ("Audit passed", "Test, by sample", "Quadratic weighted kappa", "optimizer.lr", "versions"):
        page.get_by_text(text).first.wait_for()
    page.get_by_role("tab", name="Model metrics").click()
    metrics = [page.get_by_text(text).first for text in ("auc_ge_F2", "macro_auc", "qwk")]
    for metric in metrics:
        metric.wait_for()
    assert all(metric.is_visible() for metric in metrics)


def test_the_jobs_of_a_sweep_are_compared_by_the_settings_that_it_varies(shown: Shown) -> None:
    page = shown.page
    ids = ",".join(f'"{run_id}"' for run_id in shown.jobs.values())
    address, _, experiment = shown.experiment.rpartition("/experiments/")
    page.goto(f'{address}/compare-runs?runs=[{ids}]&experiments=["{experiment}"]')
    page.get_by_role("button", name="Clear All").click()
    for number, name in ((0, "optimizer.lr"), (0, "loss.name"), (1, "best/accuracy")):
        page.get_by_role("combobox").nth(number).click()
        page.keyboard.type(name)
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")
    plot = page.locator(".js-plotly-plot").filter(has_text="loss.name")
    for text in ("optimizer.lr", "0.00300", "loss.name", "focal", "best/accuracy"):
        plot.get_by_text(text).first.wait_for()
    unvaried = page.locator("text=/^batch_size$/ >> visible=true")
    unvaried.wait_for()
    page.get_by_text("Show diff only").first.click()
    unvaried.wait_for(state="detached")
    varied = page.get_by_text("cross_entropy", exact=True).first
    varied.wait_for()
    assert varied.is_visible()


def test_report_and_figures_open_among_the_artifacts(shown: Shown) -> None:
    page, run_id = shown.page, shown.jobs["lr=0.001 cross_entropy single-phantom"]
    page.goto(f"{shown.experiment}/runs/{run_id}/artifacts/report.html")
    report = page.frame_locator("iframe").first
    report.get_by_role("heading", name="Results on the test set").wait_for()
    for name in ("figures", "roc.png"):
        page.get_by_text(name, exact=True).first.click()
    page.wait_for_function("[...document.images].some(image => image.naturalWidth > 300)")
    assert page.get_by_text("roc.png", exact=True).first.is_visible()
