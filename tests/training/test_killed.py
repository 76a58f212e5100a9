"""Runs that are killed at any point and resumed equal the uninterrupted run bit for bit."""

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from compose import prepared
from killed import EVERY_STEP, SMALL, Prepare, at_step, differences, in_a_child, in_write, only_run, run_id

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
KILLS = int(os.environ.get("FIBROLAB_RESUMED", "12"))  # points at which runs are killed; 11 configurations
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
            found.append((f"step {step}", name, at_step(step)))
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
    sometimes = point.startswith("step") and len(point) % 2  # so that steps are repeated
    often = "callbacks.checkpoint.every_minutes=0.002" if sometimes else EVERY_STEP
    run = resumed(root, [*SMALL, *CONFIGS[name], often], kill)
    found = differences(whole(name), run)
    print(f"| {point} | {name} | {'equal' if not found else ', '.join(found)} |")
    assert not found
    shutil.rmtree(run)


@pytest.mark.slow
def test_a_run_whose_last_checkpoint_is_damaged_repeats_its_steps(
    whole: Callable[[str], Path], root: Path
) -> None:
    in_a_child(root, [*SMALL, EVERY_STEP], at_step(12))
    last = only_run(root) / keys.CHECKPOINTS / keys.LAST
    last.write_bytes(last.read_bytes()[:-1000])
    assert in_a_child(root, [f"resume={run_id(root)}"]) == 0, (root / "log.txt").read_text()
    assert "goes on after epoch 2, step 10" in (root / "log.txt").read_text()  # one step earlier
    assert not differences(whole("plain"), only_run(root))


@pytest.mark.slow
def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(
    whole: Callable[[str], Path], root: Path
) -> None:
    run = resumed(root, SMALL, at_step(1))
    assert "begins from the start" in (root / "log.txt").read_text()
    assert not differences(whole("plain"), run)


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_run_on_two_ranks_that_was_killed_equals_the_uninterrupted_one(
    fresh_database: Path, cache: Path, tmp_path: Path
) -> None:
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
    assert not differences(*runs)
