"""One GPU in less than 8 minutes (16 cores): does loading keep up, how fast is training, is fp16 finite.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --device cpu --quick       # every part at a tiny size, to try the script

- `feeding`: ResNet50 trained by the Lightning Trainer from the pixel cache with augmentation, against batches
  that are on the device already (`benchmarks.feeding`), with `augment_on=workers` and `=device`. Aim: a ratio
  of 0.95.
- `networks`: images/s of training steps (forward, loss, backward, SGD) of fibrolab's modules with
  `trainer.precision=bf16-mixed` and `channels_last=true` on bytes that are on the device, and peak memory; a
  batch that does not fit is halved. Beside them stand the numbers that timm and NVIDIA publish for mixed
  precision on their devices: an order of magnitude, not a comparison. Inception-V3 is timm's at 299 px,
  NVIDIA's numbers include loading. Then steps with `16-mixed`: all losses must be finite.
- `ranks`: the command `train` on one and on two GPUs, if there are two.
- `tests`: `pytest -m gpu`.

Weights are random and images are noise or synthetic, so that no network is needed. A part that fails does
not end the others; the exit code is then 1.
"""

import argparse
import logging
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir

from benchmarks import feeding
from benchmarks.architectures import ARCHITECTURES
from fibrolab import keys
from fibrolab.config import VERSION_BASE, folder
from fibrolab.loading import load
from fibrolab.modules.base import Batch, TrainedModule
from fibrolab.training import building

ROOT = Path(__file__).parents[1]
TIMM = "RTX 3090, pytorch-image-models/results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv"
NVIDIA = "A100 80 GB, NVIDIA DeepLearningExamples/PyTorch/Classification/ConvNets, README of each network"
# Images/s of training on one device, by the name in conf/backbone; of R3D-18 neither publishes one.
PUBLISHED_TIMM = {
    "resnet50": 1218,
    "vgg16": 546,
    "efficientnet_b0": 1752,
    "densenet121": 914,
    "inception_v3": 782,
}
PUBLISHED_NVIDIA = {"resnet50": 2470, "efficientnet_b0": 2489}
FILM = "r3d_18"
HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class Sizes:
    """Sizes of everything that is measured."""

    device: str
    image: int  # [px]
    batch: int
    clips: int  # in a batch of R3D-18
    frames: int
    steps: int
    patients: int
    epochs: int
    backbone: str
    networks: tuple[str, ...]
    tests: str


def full(device: str) -> Sizes:
    """Return the sizes of a measurement."""
    return Sizes(device, 224, 256, 32, 16, 20, 1024, 4, "resnet50", (*PUBLISHED_TIMM, FILM), "tests")


def quick(device: str) -> Sizes:
    """Return sizes that take a minute on a CPU, where half precision is emulated: two of the networks.

    Clips have one frame: with two, torch's gradients in bfloat16 are wrong (`precision.check_network`).
    """
    networks = ("efficientnet_b0", FILM)
    return Sizes(device, 32, 4, 2, 1, 1, 60, 1, "tiny", networks, "tests/training/test_precision.py")


def measure_feeding(sizes: Sizes) -> None:
    """Print the images/s from the cache and from the device, for both places of the augmentation."""
    with tempfile.TemporaryDirectory() as root:
        for place in ("workers", "device"):
            settings = [
                "trainer.precision=bf16-mixed",
                "channels_last=true",
                "augment=paper2",
                f"augment_on={place}",
                f"trainer.accelerator={sizes.device}",
                f"preprocess.size={sizes.image}",
            ]
            options = argparse.Namespace(
                patients=sizes.patients,
                image_size=sizes.image,
                backbone=sizes.backbone,
                batch_size=sizes.batch // 2,
                epochs=sizes.epochs,
                overrides=settings,
            )
            found = feeding.measure(feeding.config(options, root))
            loaded, resident = np.array(found.loaded[1:]), np.array(found.resident[1:])
            print(
                f"augment_on={place:8} from the cache {np.median(loaded):8.1f}/s   from the device "
                f"{np.median(resident):8.1f}/s   ratio {np.median(loaded / resident):.3f} (aim 0.95)",
                flush=True,
            )


def measure_networks(sizes: Sizes) -> None:
    """Print a line for each network: images/s, those published, peak memory, whether fp16 is finite."""
    print(f"timm: {TIMM}\nNVIDIA: {NVIDIA}")
    print(
        f"{'network':16} {'batch':>5} {'images/s':>9} {'timm':>6} {'NVIDIA':>6} {'peak MiB':>8}  fp16 losses"
    )
    not_finite = []
    with tempfile.TemporaryDirectory() as root:
        for name in sizes.networks:
            module, size = build(name, sizes, root), sizes.clips if name == FILM else sizes.batch
            (rate, size), peak = fitting_rate(module, name, size, sizes), peak_mebibytes()
            losses = train(module, batch(name, size, sizes), "16-mixed", sizes.steps)[1]
            finite = all(map(math.isfinite, losses))
            not_finite += [] if finite else [name]
            published = [str(table.get(name, "-")) for table in (PUBLISHED_TIMM, PUBLISHED_NVIDIA)]
            print(
                f"{name:16} {size:5} {rate:9.1f} {published[0]:>6} {published[1]:>6} {peak:>8}  "
                f"{'finite' if finite else 'NOT FINITE'}",
                flush=True,
            )
            del module
    if not_finite:
        raise SystemExit(f"fp16 losses are not finite: {', '.join(not_finite)}")


def build(name: str, sizes: Sizes, root: str) -> TrainedModule:
    """Return fibrolab's module of a network with random weights, as `train` builds it, on the device."""
    of_film = ARCHITECTURES[FILM]
    chosen = (
        [*of_film.data, *of_film.overrides] if name == FILM else [f"backbone@model.branches.image={name}"]
    )
    overrides = [
        *chosen, f"paths.root={root}", "data.patients=20", "data.images_per_patient=1", "data.size=32",
        f"preprocess.size={sizes.image}", "pretrained=false", "channels_last=true",
    ]  # fmt: skip
    with initialize_config_dir(str(folder()), version_base=VERSION_BASE):
        config = compose("train", overrides)
    return building.build_module(config, load(config)).to(sizes.device).train()


def batch(name: str, size: int, sizes: Sizes) -> Batch:
    """Return noise as bytes on the device: images (B, 1, H, W), or clips (B, 1, T, H, W)."""
    frames = (sizes.frames,) if name == FILM else ()
    shape = (size, 1, *frames, sizes.image, sizes.image)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=sizes.device)
    labels = torch.arange(size, device=sizes.device) % 5
    return {keys.CLIP if name == FILM else keys.IMAGE: pixels, keys.LABEL: labels}


def fitting_rate(module: TrainedModule, name: str, size: int, sizes: Sizes) -> tuple[float, int]:
    """Return the images/s of training in bf16 and the size of the batch, halved until it fits."""
    while True:
        try:
            return train(module, batch(name, size, sizes), "bf16-mixed", sizes.steps)[0], size
        except torch.OutOfMemoryError:
            size //= 2
        module.zero_grad()
        torch.cuda.empty_cache()


def train(module: TrainedModule, data: Batch, precision: str, steps: int) -> tuple[float, list[float]]:
    """Return the images/s of training steps after a few to warm up, and the loss of each step."""
    device = data[keys.LABEL].device
    optimizer = torch.optim.SGD(module.parameters(), lr=0.001, momentum=0.9)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "16-mixed")
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    losses, warm_up = list[torch.Tensor](), max(1, steps // 4)
    start = 0.0
    for step in range(warm_up + steps):
        if step == warm_up:
            wait(device)
            start = time.perf_counter()
        with torch.autocast(device.type, HALF[precision]):
            loss = module.criterion(module(data), data[keys.LABEL])
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.detach())
    wait(device)
    rate = steps * len(data[keys.LABEL]) / (time.perf_counter() - start)
    return rate, torch.stack(losses).tolist()


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_mebibytes() -> str:
    """Return the peak memory of the device [MiB]; none is measured on a CPU."""
    return f"{torch.cuda.max_memory_allocated() / 2**20:.0f}" if torch.cuda.is_available() else "-"


def measure_ranks(sizes: Sizes) -> None:
    """Print the seconds of the command `train` on one and on two GPUs."""
    if torch.cuda.device_count() < 2:
        print("not run: it needs two GPUs")
        return
    with tempfile.TemporaryDirectory() as root:
        for devices in (1, 2):
            start = time.perf_counter()
            run(
                "fibrolab.train", f"paths.root={root}", "trainer.accelerator=gpu",
                f"trainer.devices={devices}",
                f"data.patients={sizes.patients}", f"backbone@model.branches.image={sizes.backbone}",
                "pretrained=false", "trainer.max_epochs=2", f"batch_size={sizes.batch}",
            )  # fmt: skip
            print(
                f"{devices} GPU(s) {time.perf_counter() - start:6.1f} s (the first also generates the data)"
            )


def run_tests(sizes: Sizes) -> None:
    """Run the tests that are marked `gpu`."""
    run("pytest", "-q", "-m", "gpu", sizes.tests)


def run(*words: str) -> None:
    """Run a Python module; raise CalledProcessError if it fails."""
    subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True)


PARTS: dict[str, Callable[[Sizes], None]] = {
    "feeding": measure_feeding,
    "networks": measure_networks,
    "ranks": measure_ranks,
    "tests": run_tests,
}


def main() -> None:
    """Run all parts, or those that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(PARTS)}; default: all")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the script")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("There is no CUDA device; --device cpu --quick tries the script.")
    logging.disable(logging.WARNING)
    sizes, failed, begin = (quick if options.quick else full)(options.device), [], time.perf_counter()
    if options.device == "cuda":
        print(f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, torch {torch.__version__}")
    for name in options.parts or PARTS:
        print(f"\n{name}", flush=True)
        try:
            PARTS[name](sizes)
        except (Exception, SystemExit) as error:
            print(f"FAILED: {type(error).__name__}: {error}", flush=True)
            failed.append(name)
        print(f"({time.perf_counter() - begin:.0f} s since the start)", flush=True)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
