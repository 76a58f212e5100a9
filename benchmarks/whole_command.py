"""The whole command `train` against a plain PyTorch script and plain Lightning, audit and report included.

    python -m benchmarks.whole_command --data DIR     # a folder of F0 .. F4; without one, files are generated

Three programs train the same network on the same files, each in its own process, one after the other:

- `torch`: a script with one loop: ImageFolder, v2 transforms, AdamW, a cosine schedule, validation after each
  epoch, the best weights saved, probabilities of the test part written as CSV.
- `lightning`: the same as a LightningModule with CSVLogger, and a ModelCheckpoint of best and last epoch.
- `cold` and `warm`: `fibrolab train` in an empty folder, and once more in that folder. It also surveys and
  audits the files, computes intervals and baselines, draws the figures and writes the report.

Printed are the wall time and the CPU time (with loader processes) as means over the rounds [s], and the ratio
of the wall time to that of plain Lightning with the smallest and the largest of a round. The order of the
programs rotates with each round: in three rounds, each begins once. Before, the libraries of all programs are
imported, so that none is charged with reading them from the disk; the load is that before the first round.
"""

import argparse
import csv
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STAGES = ("F0", "F1", "F2", "F3", "F4")
BATCH, RATE, DECAY = 32, 3e-3, 0.01  # as `fibrolab train` has them
PLAIN = ("torch", "lightning")
PROGRAMS = (*PLAIN, "cold", "warm")
LIBRARIES = "import fibrolab.cross_validation, lightning, matplotlib.figure, timm, torch, torchvision"


def files_of(folder: Path, data: Path | None, count: int, size: int) -> None:
    """Copy `count` files of a data set, the first of each stage, or generate as many."""
    if data is None:
        from benchmarks.loader import write_scans

        write_scans(folder, count, (size, size))
        return
    for stage in STAGES:
        (folder / stage).mkdir(parents=True)
        for path in sorted((data / stage).iterdir())[: count // len(STAGES)]:
            shutil.copyfile(path, folder / stage / path.name)


def loaders(folder: Path, size: int) -> Iterator[Any]:
    """Yield loaders of training (70 %), validation (15 %) and test (15 %), with one worker each."""
    import torch
    from torch.utils.data import DataLoader, Subset
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    start = [v2.ToImage(), v2.Grayscale(3), v2.Resize((size, size), antialias=True)]
    augment = [v2.RandomHorizontalFlip(), v2.RandomAffine(5, translate=(0.05, 0.05), scale=(0.95, 1.05))]
    scale = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)]
    plain = ImageFolder(str(folder), v2.Compose([*start, *scale]))
    augmented = ImageFolder(str(folder), v2.Compose([*start, *augment, *scale]))
    order = torch.randperm(len(plain), generator=torch.Generator().manual_seed(0)).tolist()
    first, second = int(0.7 * len(order)), int(0.85 * len(order))
    yield DataLoader(
        Subset(augmented, order[:first]), BATCH, shuffle=True, num_workers=1, persistent_workers=True
    )
    for rows in (order[first:second], order[second:]):
        yield DataLoader(Subset(plain, rows), BATCH, num_workers=1, persistent_workers=True)


def write_probabilities(path: Path, rows: list[list[float]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([[f"p_{k}" for k in range(len(STAGES))], *rows])


def torch_script(folder: Path, work: Path, backbone: str, size: int, epochs: int) -> None:
    """Train and test as a plain script does."""
    import timm
    import torch
    from torch.nn.functional import cross_entropy

    train, validation, test = loaders(folder, size)
    network = timm.create_model(backbone, num_classes=len(STAGES))
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    best = float("inf")
    for epoch in range(epochs):
        network.train()
        for images, labels in train:
            optimizer.zero_grad()
            cross_entropy(network(images), labels).backward()
            optimizer.step()
        schedule.step()
        network.eval()
        with torch.no_grad():
            losses = [
                float(cross_entropy(network(images), labels, reduction="sum"))
                for images, labels in validation
            ]
        print(f"epoch {epoch + 1}: val_loss {sum(losses):.3f}")
        if sum(losses) < best:
            best = sum(losses)
            torch.save(network.state_dict(), work / "best.pt")
    network.load_state_dict(torch.load(work / "best.pt", weights_only=True))
    with torch.no_grad():
        rows = [row for images, _ in test for row in network(images).softmax(1).tolist()]
    write_probabilities(work / "predictions.csv", rows)


def lightning_script(folder: Path, work: Path, backbone: str, size: int, epochs: int) -> None:
    """Train and test as Lightning's documentation does."""
    import lightning as L
    import timm
    import torch
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import CSVLogger
    from torch.nn.functional import cross_entropy

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = timm.create_model(backbone, num_classes=len(STAGES))

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            loss = cross_entropy(self.network(batch[0]), batch[1])
            self.log("train_loss", loss, on_epoch=True, on_step=False)
            return loss

        def validation_step(self, batch: Any, _: int) -> None:
            logits = self.network(batch[0])
            self.log("val_loss", cross_entropy(logits, batch[1]))
            self.log("val_accuracy", (logits.argmax(1) == batch[1]).float().mean())

        def predict_step(self, batch: Any, _: int) -> torch.Tensor:
            return self.network(batch[0]).softmax(1)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=RATE, weight_decay=DECAY)
            return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)]

    train, validation, test = loaders(folder, size)
    module = Module()
    best = ModelCheckpoint(monitor="val_loss", save_last=True)
    trainer = L.Trainer(
        max_epochs=epochs, logger=CSVLogger(work), callbacks=[best], accelerator="cpu",
        enable_progress_bar=False, log_every_n_steps=10,
    )  # fmt: skip
    trainer.fit(module, train, validation)
    found: Any = trainer.predict(module, test, ckpt_path="best")
    write_probabilities(work / "predictions.csv", [row for batch in found or [] for row in batch.tolist()])


def command(program: str, folder: Path, work: Path, options: argparse.Namespace) -> list[str]:
    """Return the command line of one of the programs."""
    if program in PLAIN:
        return [
            sys.executable, "-m", "benchmarks.whole_command", "--run", program, "--data", str(folder),
            "--work", str(work), "--backbone", options.backbone, "--image-size", str(options.image_size),
            "--epochs", str(options.epochs),
        ]  # fmt: skip
    return [
        sys.executable, "-m", "fibrolab", "train", "data=kaggle_fibrosis", f"data.root={folder}",
        f"data.image_size={options.image_size}", f"backbone@model.branches.image={options.backbone}",
        f"trainer.max_epochs={options.epochs}", "trainer.accelerator=cpu", "num_workers=1",
        f"batch_size={BATCH}", f"paths.root={work}", "pretrained=false",
    ]  # fmt: skip


def timed(line: list[str]) -> tuple[float, float]:
    """Run a process; return its wall time and its CPU time [s], child processes included."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise SystemExit(f"{' '.join(line)} failed:\n{ended.stderr[-3000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def artifacts(work: Path) -> list[set[str]]:
    """Return the files of each run below a folder, in the order in which the runs ended."""
    runs = sorted((work / "mlruns" / "artifacts").glob("*/artifacts"), key=lambda run: run.stat().st_mtime)
    return [{path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()} for run in runs]


def main() -> None:
    """Measure and print; with `--run`, run one of the plain programs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with F0 .. F4; its first files are used")
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backbone", default="mobilenetv3_small_050", help="a file of conf/backbone")
    parser.add_argument("--run", choices=PLAIN, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        script = torch_script if options.run == "torch" else lightning_script
        script(options.data, options.work, options.backbone, options.image_size, options.epochs)
        return
    if options.data is None:
        print("No --data: files of the same number and size are generated.")
    load = os.getloadavg()[0]
    timed([sys.executable, "-c", LIBRARIES])
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as temporary:
        files = Path(temporary) / "files"
        files_of(files, options.data, options.files, options.image_size)
        for number in range(options.rounds):
            ours = Path(temporary) / f"ours{number}"
            turns = [PLAIN[:1], PLAIN[1:], ("cold", "warm")]
            for name in sum(turns[number % 3 :] + turns[: number % 3], ()):
                work = ours if name not in PLAIN else Path(temporary) / f"{name}{number}"
                work.mkdir(exist_ok=True)
                spent[name].append(timed(command(name, files, work, options)))
            cold, warm = artifacts(ours)
            if cold != warm or "report.html" not in cold:
                raise SystemExit(f"The two runs left different files, or no report: {sorted(cold ^ warm)}")
    print(
        f"{options.files} files, {options.image_size} px, {options.epochs} epochs of {options.backbone}, "
        f"{options.rounds} round(s), load of the machine before {load:.1f}; {len(cold)} files a run"
    )
    for line in table(spent):
        print(line, flush=True)


def table(spent: dict[str, list[tuple[float, float]]]) -> Iterator[str]:
    """Yield a line on each program, given its wall and CPU time in each round [s]."""
    reference = [wall for wall, _ in spent["lightning"]]
    for name, times in spent.items():
        wall, cpu = (sum(part) / len(part) for part in zip(*times, strict=True))
        of_rounds = [own / other for (own, _), other in zip(times, reference, strict=True)]
        ratio = wall * len(reference) / sum(reference)
        spread = f"{min(of_rounds):.2f} to {max(of_rounds):.2f}"
        yield f"{name:10} {wall:7.1f} s   CPU {cpu:7.1f} s   {ratio:5.2f} x lightning ({spread})"


if __name__ == "__main__":
    main()
