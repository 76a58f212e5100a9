"""Every benchmark runs at a size that takes seconds; its output is not checked."""

import shlex
from pathlib import Path

import pytest
from warm import Warm

from benchmarks.whole_command import table

ROOT = Path(__file__).parents[2]
SMALL = {
    "architectures": "single --epochs 1 --steps 2",
    "audit": "--images 500",
    "augmentation": "--size 32 --batch-size 8 --repeats 1",
    "bookkeeping": "data.size=32 trainer.max_epochs=1 data.images_per_patient=1",
    "bootstrap": "--samples 200 --resamples 60",
    "claims": "ordinal --seeds 1 data.patients=60 data.images_per_patient=1 trainer.max_epochs=1",
    "clip_decoding": "--seconds 0.05",
    "coverage": "--help",  # its smallest table takes minutes
    "delong": "--samples 10000 --pairs-of 200",
    "error_rates": "--studies 3",
    "evaluation": "",
    "frames": "--frames 2 4 --size 32 32",
    "export": "--size 32 --samples 4 --backbone test_resnet --families single multimodal",
    "explanation": "--images 4 --batch-size 2 --size 32",
    "explanation_tests": "--patients 40 --size 32 --epochs 1 --methods gradcam",
    "feeding": "--patients 60 --image-size 32 --batch-size 8 --epochs 1",
    "frozen_features": "--help",  # needs the Kaggle data set
    "gpu": "--device cpu --quick",
    "loader": "--files 24 --denoised 2",
    "mask_crop": "--patients 60 --size 32 --epochs 1",
    "memory": "--train --images 400 --steps 3",
    "near_hashes": "--hashes 2000",
    "predicting": "--files 12 --width 96 --height 64 --epochs 1",
    "pseudo_masks": "--patients 30 --epochs 1",
    "published_numbers": "--studies 3",
    "ranks": "--steps 1 --size 32 --rounds 1",
    "scale": "--rows 500 1000",
    "serving": "--requests 20 --at-once 8 --width 96 --height 64 preprocess.size=32",
    "segmentation": "speed --images 16 --size 32 --epochs 1",
    "strangers": "--patients 130 --size 32 --image-size 32 --epochs 1",
    "sweeps": "--jobs 3 --processes 1 --trials 20",
    "tuning": "--quick",
    "whole_command": "--files 60 --image-size 32 --epochs 1 --rounds 1",
}


def test_every_benchmark_is_tried() -> None:
    commands = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()}
    assert commands == set(SMALL)


def test_whole_commands_are_compared_with_lightning_in_each_round_and_over_all() -> None:
    lines = table({"lightning": [(10.0, 12.0), (30.0, 32.0)], "cold": [(15.0, 20.0), (33.0, 40.0)]})
    first, second = (" ".join(line.split()) for line in lines)
    assert first == "lightning 20.0 s CPU 22.0 s 1.00 x lightning (1.00 to 1.00)"
    assert second == "cold 24.0 s CPU 30.0 s 1.20 x lightning (1.10 to 1.50)"


@pytest.mark.slow
@pytest.mark.timeout(580)
@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_runs_through(name: str, warm: Warm, tmp_path: Path) -> None:
    ended = warm.run(tmp_path / "log.txt", f"benchmarks.{name}", *shlex.split(SMALL[name]))
    assert ended.returncode == 0, ended.output[-2000:]
