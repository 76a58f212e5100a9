"""Options and fixtures of all tests: `--strict-skips`, and small generated data."""

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

if TYPE_CHECKING:
    from warm import Warm

settings.register_profile("any_machine", deadline=None)  # a busy one takes a second for a first import
settings.load_profile("any_machine")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores
os.environ.setdefault("FIBROLAB_CORES", "1")  # a further process takes longer to start than a test to draw
EXCUSED = ("gpu", "shared", "docker", "slurm")  # what a machine may lack
APART = ("test_running", "test_benchmarks")  # files of slow tests that any worker may take one by one
STAGES = ("F0", "F1", "F2", "F3", "F4")
TESTS = Path(__file__).parent
QUICK = os.pathsep.join([str(TESTS / "quick"), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strict-skips", action="store_true", help="a skip without an excusing marker is a failure"
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    gc.disable()  # a third of the time of the imports, which leave no garbage
    try:
        return (yield)
    finally:
        gc.freeze()  # a million objects, which each full collection would visit again
        gc.set_threshold(7_000)  # ten times the usual: collections took a tenth of the time of the trainings
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with trainings, the longest fast tests, and end with the slow tests that any worker may take."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    if item.path.stem in APART and item.get_closest_marker("slow"):
        return 2 + APART.index(item.path.stem)
    return int(item.path.parent.name not in ("training", "sweeps"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Divide the files of `APART`, a third of the slow tests' time, so that all workers end at one time.

    Other tests of a file share what its fixtures train. xdist's own groups do nothing beside pytest 9.2:
    https://github.com/pytest-dev/pytest-xdist/issues/1386
    """
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return nodeid if Path(file).stem in APART else file

    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and item.config.getoption("--strict-skips"):
        excused = any(item.get_closest_marker(name) for name in EXCUSED)
        if not excused and not hasattr(report, "wasxfail"):
            report.outcome = "failed"
            report.longrepr = f"skipped, which --strict-skips forbids: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def kaggle_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree F0..F4 with twelve distinct 48 x 40 images a stage, PNG and JPEG, one in three stored twice."""
    root = tmp_path_factory.mktemp("kaggle")
    rng = np.random.default_rng(0)
    for stage, name in enumerate(STAGES):
        folder = root / name
        folder.mkdir()
        for number in range(12):
            # Independent coarse noise: perceptual hashes of different images lie about 128 bits apart.
            coarse = Image.fromarray(rng.integers(0, 120, (10, 12), dtype=np.uint8))
            grey = np.asarray(coarse.resize((48, 40), Image.Resampling.BICUBIC)) + np.uint8(25 * stage)
            path = folder / f"{name.lower()}_{number:02}.png"
            Image.fromarray(grey).save(path, format="JPEG" if number % 2 else "PNG")
            if number % 3 == 0:
                (folder / f"copy_{number:02}.jpg").write_bytes(path.read_bytes())
    return root


@pytest.fixture
def damaged_tree(kaggle_tree: Path, tmp_path: Path) -> Path:
    """That tree with a truncated image in F1, an empty one in F2 and a text in F3."""
    tree = tmp_path / "tree"
    shutil.copytree(kaggle_tree, tree)
    whole = (tree / "F1" / "f1_03.png").read_bytes()
    (tree / "F1" / "f1_04.png").write_bytes(whole[: len(whole) // 2])
    (tree / "F2" / "f2_05.png").write_bytes(b"")
    (tree / "F3" / "f3_06.png").write_text("no picture")
    return tree


@pytest.fixture(scope="session")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables and no run."""
    from fibrolab import tracking

    tracking._create_database(path := tmp_path_factory.mktemp("database") / "mlflow.db")
    return path


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of generated, surveyed and audited data, shared by all tests and workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def sweep(fresh_database: Path, cache: Path) -> tuple[Path, str]:
    """The `paths.root` of a finished sweep over two settings, four jobs, and what its command printed.

    It is shared by all tests and workers, which read it.
    """
    from compose import prepared
    from filelock import FileLock

    root, printed = cache.parent / "sweep", cache.parent / "sweep.txt"
    words = [
        "-m", "optimizer.lr=0.001,0.003", "loss=cross_entropy,focal", "data.patients=60", "data.size=32",
        "data.images_per_patient=1", "batch_size=16", "num_workers=0", "trainer.max_epochs=1",
        "trainer.accelerator=cpu", "bootstrap.resamples=50", f"paths.root={root}",
    ]  # fmt: skip
    with FileLock(cache.parent / "sweep.lock"):
        if not printed.exists():
            root.mkdir()
            prepared(root, fresh_database, cache)
            completed = subprocess.run(
                [sys.executable, "-m", "fibrolab.train", *words], capture_output=True, text=True
            )
            assert completed.returncode == 0, completed.stderr
            printed.write_text(completed.stdout)
    return root, printed.read_text()


@pytest.fixture(scope="session")
def finished(fresh_database: Path, cache: Path) -> Path:
    """The `paths.root` of one finished run on pictures, shared by all tests and workers, which restore it."""
    from compose import composed, prepared
    from drawn import unrendered
    from filelock import FileLock
    from own_data import PHANTOMS

    from fibrolab.pipeline import run

    root = cache.parent / "finished"
    words = ["preprocess.size=32", "trainer.max_epochs=3", "num_workers=0", "bootstrap.resamples=20"]
    with FileLock(cache.parent / "finished.lock"):
        if not root.exists():
            root.mkdir()
            prepared(root, fresh_database, cache)
            with unrendered():
                run(composed(f"paths.root={root}", *words, *PHANTOMS["phantom"], "trainer.accelerator=cpu"))
    return root


@pytest.fixture
def root(tmp_path: Path, fresh_database: Path, cache: Path) -> Path:
    """A `paths.root` with an empty tracking database and the shared cache."""
    from compose import prepared

    return prepared(tmp_path, fresh_database, cache)


@pytest.fixture
def place(tmp_path: Path, fresh_database: Path) -> dict[str, str]:
    """Arguments of `track` for an empty tracking database, that of `paths.root={tmp_path}`."""
    folder = tmp_path / "mlruns"
    folder.mkdir()
    shutil.copy(fresh_database, folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"
    return {"uri": uri, "experiment": "fibrolab", "artifacts": str(folder / "artifacts")}


@pytest.fixture(scope="module", autouse=True)
def few_trees(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fit 2 of the 40 trees of the audit's baselines, a sixth of a small training, but in its own tests."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name not in ("audit", "phantom"):
            patch.setattr("fibrolab.data.audit.acquisition.TREES", 2)
        yield


@pytest.fixture
def blank_figures() -> Iterator[None]:
    """Save blank figures, see `drawn.unrendered`."""
    from drawn import unrendered  # late: not every test needs matplotlib

    with unrendered():
        yield


@pytest.fixture
def coarse_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save figures that are drawn in few pixels."""
    from coarse_figures import coarse  # late: not every test needs matplotlib

    from fibrolab.reporting.figures import style

    monkeypatch.setattr(style, "render", coarse)


@pytest.fixture
def quick_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let child processes draw coarse figures and fit few trees, see `quick/sitecustomize.py`."""
    monkeypatch.setenv("PYTHONPATH", QUICK)


@pytest.fixture(scope="session")
def warm() -> Iterator["Warm"]:
    """Start commands in forks of one process that has imported their libraries, as `quick_children`."""
    from warm import Warm

    with Warm({**os.environ, "PYTHONPATH": QUICK}) as started:
        yield started
