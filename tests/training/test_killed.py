"""Runs that are killed at any point and resumed equal the uninterrupted run bit for bit.

The table of 20 points and of the eight below them, in as many pieces as time allows:

    FIBROLAB_RESUMED=20 FIBROLAB_KILL_TABLE=kills.md pytest tests/training/test_killed.py

A point whose row is in the table already is skipped, so that the same command goes on where it stood.
"""

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from compose import prepared
from killed import (
    EVERY_STEP,
    SMALL,
    Prepare,
    at_step,
    differences,
    in_a_child,
    in_upload,
    in_write,
    only_run,
    run_id,
)
from mlflow_server import serving

from fibrolab import keys

CONFIGS = {
    "plain": [],
    "workers": ["num_workers=2"],
    "plateau": ["scheduler=plateau", "scheduler.patience=0", "scheduler.factor=0.5"],
    "warm-up": ["scheduler.warmup_epochs=2"],
    "ema, accumulation": ["averaging=ema", "averaging.decay=0.7", "trainer.accumulate_grad_batches=2"],
    "swa": ["averaging=swa", "averaging.start=0.5"],
    "gradual thawing": ["model.branches.image.freeze=gradual"],
    "weighted sampler": ["sampler=weighted"],
    "balanced sampler": ["sampler=balanced"],
    "early stopping": ["callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=9"],
    "validation every 2 epochs": ["+trainer.check_val_every_n_epoch=2"],
}
pytestmark = pytest.mark.usefixtures("quick_children")  # ranks
KILLS = int(os.environ.get("FIBROLAB_RESUMED", "12"))  # points at which runs are killed; 11 configurations
TABLE = Path(os.environ.get("FIBROLAB_KILL_TABLE", os.devnull))
FAST = 3  # points that are tested with every change
WRITES = (keys.HISTORY_FILE, keys.BEST, keys.LAST)
AFTER = (keys.PREDICTIONS_FILE, keys.METRICS_FILE, keys.REPORT_FILE)


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, fresh_database: Path, cache: Path
) -> Callable[[str], Path]:
    """Train a configuration without interruption, once; return the folder of its run."""
    folders: dict[str, Path] = {}

    def trained(name: str) -> Path:
        if name not in folders:
            root = prepared(tmp_path_factory.mktemp("whole"), fresh_database, cache)
            assert in_a_child(root, [*SMALL, *CONFIGS[name]]) == 0, (root / "log.txt").read_text()
            folders[name] = only_run(root)
        return folders[name]

    return trained


def skip_if_known(point: str, name: str) -> None:
    if TABLE.exists() and f"| {point} | {name} |" in TABLE.read_text():
        pytest.skip("this point is in the table")


def assert_equal(point: str, name: str, whole: Path, run: Path) -> None:
    """Compare two finished runs, and add a row to the table."""
    found = differences(whole, run)
    with TABLE.open("a") as table:
        table.write(f"| {point} | {name} | {'equal' if not found else ', '.join(found)} |\n")
    assert not found


def resumed(root: Path, words: list[str], kill: Prepare) -> Path:
    """Train until the kill, resume, and return the folder of the run."""
    status = in_a_child(root, words, kill)
    assert status == signal.SIGKILL, (root / "log.txt").read_text()
    assert in_a_child(root, [f"resume={run_id(root)}"]) == 0, (root / "log.txt").read_text()
    return only_run(root)


def points(number: int) -> list[tuple[str, str, Prepare]]:
    """Draw configurations, and a point at which each is killed."""
    draw, found = random.Random(0), []
    for k, name in enumerate(name for _ in range(number) for name in CONFIGS):
        if k == number:
            break
        kind = ("step", "write", "step", "after")[k % 4]
        if kind == "step":
            step = draw.randint(2, 9 if name == "early stopping" else 18)
            found.append((f"step {step}", name, at_step(step, waits=False)))
        elif kind == "write":
            file, written = WRITES[k // 4 % len(WRITES)], draw.choice([0.3, 1])
            verb = "within" if written < 1 else "after"
            time = 1 if file != keys.LAST else draw.randint(2, 9)
            found.append((f"{verb} write {time} of {file}", name, in_write(file, time, written)))
        else:
            file = AFTER[k // 4 % len(AFTER)]
            found.append((f"within write of {file}", name, in_write(file)))
    return found


@pytest.mark.parametrize(
    ("point", "name", "kill"),
    [pytest.param(*each, marks=[pytest.mark.slow] * (k >= FAST)) for k, each in enumerate(points(KILLS))],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_killed_run_that_is_resumed_equals_the_uninterrupted_one(
    point: str, name: str, kill: Prepare, whole: Callable[[str], Path], root: Path
) -> None:
    skip_if_known(point, name)
    sometimes = point.startswith("step") and len(point) % 2  # so that steps are repeated
    often = "callbacks.checkpoint.every_minutes=0.002" if sometimes else EVERY_STEP
    run = resumed(root, [*SMALL, *CONFIGS[name], often], kill)
    assert_equal(point, name, whole(name), run)
    shutil.rmtree(run)


@pytest.mark.parametrize(
    ("file", "time", "name"),
    [
        (keys.LAST, 3, "plain"),
        pytest.param(keys.LAST, 5, "ema, accumulation", marks=pytest.mark.slow),
        pytest.param(keys.LAST, 8, "workers", marks=pytest.mark.slow),
        pytest.param(keys.BEST, 1, "plain", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_killed_a_while_after_a_write_began_equals_the_uninterrupted_one(
    file: str, time: int, name: str, whole: Callable[[str], Path], root: Path
) -> None:
    row = f"within write {time} of {file}, while the training goes on", name
    skip_if_known(*row)
    kill = in_write(file, time, pause=0.3)
    assert_equal(*row, whole(name), resumed(root, [*SMALL, *CONFIGS[name], EVERY_STEP], kill))


@pytest.mark.slow
def test_a_run_whose_last_checkpoint_is_damaged_repeats_its_steps(
    whole: Callable[[str], Path], root: Path
) -> None:
    row = "step 12, then a damaged checkpoint", "plain"
    skip_if_known(*row)
    in_a_child(root, [*SMALL, EVERY_STEP], at_step(12))
    last = only_run(root) / keys.CHECKPOINTS / keys.LAST
    last.write_bytes(last.read_bytes()[:-1000])
    assert in_a_child(root, [f"resume={run_id(root)}"]) == 0, (root / "log.txt").read_text()
    assert "goes on after epoch 2, step 10" in (root / "log.txt").read_text()  # one step earlier
    assert_equal(*row, whole("plain"), only_run(root))


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(
    whole: Callable[[str], Path], root: Path
) -> None:
    row = "step 1, before the first checkpoint", "plain"
    skip_if_known(*row)
    run = resumed(root, SMALL, at_step(1))
    assert "begins from the start" in (root / "log.txt").read_text()
    assert_equal(*row, whole("plain"), run)


@pytest.mark.slow
def test_a_run_that_was_killed_while_its_files_were_uploaded_sends_them_whole(
    whole: Callable[[str], Path], root: Path
) -> None:
    row = "within the upload to a server", "plain"
    skip_if_known(*row)
    with serving(root / "server") as server:
        place = f"tracking.uri={server.uri}"
        assert in_a_child(root, [*SMALL, place], in_upload(files=3)) == signal.SIGKILL
        run = run_id(root)
        assert in_a_child(root, [f"resume={run}", place]) == 0, (root / "log.txt").read_text()
        assert server.client.get_run(run).info.status == "FINISHED"
        (uploaded,) = (root / "server" / "far").rglob("config.yaml")
    assert not list(root.glob("mlruns/artifacts/*"))  # nothing waits
    assert_equal(*row, whole("plain"), uploaded.parent)


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_run_on_two_ranks_that_was_killed_equals_the_uninterrupted_one(
    fresh_database: Path, cache: Path, tmp_path: Path
) -> None:
    row = "leader of the ranks, step 7", "two ranks, weighted sampler, ema"
    skip_if_known(*row)
    words = [*SMALL, "trainer=ddp_cpu", "trainer.devices=2", "sampler=weighted", "averaging=ema", EVERY_STEP]
    words.append("trainer.max_epochs=2")
    runs = []
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        root = prepared(tmp_path / name, fresh_database, cache)
        marker = root / "was killed"
        kill = ["+callbacks.kill._target_=killed.LeaderKilled", f"+callbacks.kill.marker={marker}"]
        kill.append("+callbacks.kill.step=7")
        if name == "whole":
            marker.touch()
            assert in_a_child(root, [*words, *kill]) == 0, (root / "log.txt").read_text()
        else:
            assert in_a_child(root, [*words, *kill]) == signal.SIGKILL, (root / "log.txt").read_text()
            assert in_a_child(root, [f"resume={run_id(root)}"]) == 0, (root / "log.txt").read_text()
            assert "goes on after epoch 1, step 5" in (root / "log.txt").read_text()
        runs.append(only_run(root))
    assert_equal(*row, *runs)


@pytest.mark.slow
@pytest.mark.timeout(580)
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_run_goes_on_with_another_number_of_ranks(
    before: int, after: int, fresh_database: Path, cache: Path, tmp_path: Path
) -> None:
    words = [*SMALL, "model.branches.image.name=test_convnext", "model.head.dropout=0", EVERY_STEP]
    words += ["trainer=ddp_cpu", "trainer.max_epochs=2", "optimizer=sgd", f"trainer.devices={before}"]
    words += ["+callbacks.kill._target_=killed.LeaderKilled", "+callbacks.kill.step=10"]
    histories = []
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        root = prepared(tmp_path / name, fresh_database, cache)
        marker = root / "was killed"
        given = [*words, f"+callbacks.kill.marker={marker}"]
        if name == "whole" or before == 1:  # whose leader is the process of the tests
            marker.touch()
        kill = at_step(9) if name == "killed" and before == 1 else None
        status = in_a_child(root, given, kill)
        assert status == (signal.SIGKILL if name == "killed" else 0), (root / "log.txt").read_text()
        if name == "killed":
            assert in_a_child(root, [f"resume={run_id(root)}", f"trainer.devices={after}"]) == 0, (
                root / "log.txt"
            ).read_text()
            assert "goes on within epoch 2, step 8" in (root / "log.txt").read_text()
        histories.append(pd.read_csv(only_run(root) / keys.HISTORY_FILE))
    pd.testing.assert_frame_equal(*histories, rtol=1e-4)
