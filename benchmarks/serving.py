"""One picture through the server against the network alone, requests at once, and memory over many requests.

    python -m benchmarks.serving model=hybrid preprocess.size=224 pretrained=false
    python -m benchmarks.serving --requests 10000
    python -m benchmarks.serving --requests 20 --at-once 8 --width 96 --height 64 preprocess.size=32

A network is trained on phantoms for one epoch, with the settings that follow the options, and served by the
command itself, in a process of its own. Prints the time of one request and of the network's forward pass plus
decoding of the same file, both on the CPU, and their ratio (aim 1.2); the time until all of many requests at
once are answered, each compared with the answer that it got alone; then sends many requests one after the
other, compares each in the same way, and prints the processor time of a request, which other programs hardly
change, and the memory of the server after a tenth of these requests and after all.
"""

import argparse
import io
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import requests
import torch
from PIL import Image

from benchmarks.predicting import composed
from fibrolab.data.readers import read_image
from fibrolab.pipeline import Trained, train
from fibrolab.runs import new_input, open_run

PATIENCE = 300.0  # [s] until the server answers
CHANCES = 1e-5  # largest difference of equal probabilities


def picture(number: int, height: int, width: int) -> bytes:
    """Return a PNG of noise that compresses about as well as speckle, unlike all others."""
    rng = np.random.default_rng(number)
    noise = rng.normal(60 + number % 100, 12, (height, width)).clip(0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "png", compress_level=1)
    return out.getvalue()


def seconds_of_network(run_folder: Path, path: Path, repeats: int) -> tuple[float, float]:
    """Return the median time of the forward pass, and of decoding a file [s]."""
    network = open_run(run_folder).predictors[0]
    manifest = new_input.listed([path], network.record, network.module.inputs)
    with tempfile.TemporaryDirectory() as cache:
        data, _ = new_input.unlabelled(manifest, network.classes)
        assert data is not None, "the file is whole"
        datamodule = network.datamodule(data, Path(cache))
        datamodule.prepare_data()
        (batch,) = datamodule.test_dataloader()
        with torch.inference_mode():
            forward = [timed(lambda: network.module(batch)) for _ in range(repeats)]
    decoding = [timed(lambda: read_image(path)) for _ in range(repeats)]
    return statistics.median(forward), statistics.median(decoding)


def timed(work: object) -> float:
    started = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - started


def started(trained: Trained, root: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start the server in a process of its own, and return it with its address when it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [f"run={trained.id}", f"paths.root={root}", f"port={port}"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    server = subprocess.Popen([sys.executable, "-m", "fibrolab.serve", *words], env=environment)
    address, limit = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
    while time.monotonic() < limit and server.poll() is None:
        try:
            requests.get(f"{address}/health", timeout=5)
            return server, address
        except requests.ConnectionError:
            time.sleep(0.2)
    raise RuntimeError("the server did not start")


def processor_seconds(server: subprocess.Popen[bytes]) -> float:
    """Return the processor time that the server has used [s]."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(server: subprocess.Popen[bytes]) -> float:
    """Return the resident memory of the server [MiB]."""
    fields = Path(f"/proc/{server.pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def ask(session: requests.Session, address: str, content: bytes) -> list[float]:
    """Return the probabilities of one picture."""
    found = session.post(f"{address}/predict", files={"files": ("a.png", content)}, timeout=PATIENCE)
    found.raise_for_status()
    (row,) = found.json()["samples"]
    return [value for name, value in row.items() if name.startswith("p_")]


def differ(one: list[float], other: list[float]) -> bool:
    """Return whether probabilities of the same picture are not equal."""
    return bool(np.abs(np.array(one) - np.array(other)).max() > CHANCES)


def main() -> None:
    """Print the ratio, the time of requests at once, and the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=100)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    given, words = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        small = ["data.patients=60", "data.images_per_patient=1", "trainer.max_epochs=1", "num_workers=0"]
        short = ["trainer.accelerator=cpu", "bootstrap.resamples=20"]
        trained = train(composed("train", f"paths.root={root}", *small, *short, *words))
        path = root / "a.png"
        path.write_bytes(picture(0, given.height, given.width))
        forward, decoding = seconds_of_network(trained.folder, path, 20)
        server, address = started(trained, root)
        try:
            measure(given, server, address, forward, decoding)
        finally:
            server.terminate()
            server.wait(60)


def measure(
    given: argparse.Namespace,
    server: subprocess.Popen[bytes],
    address: str,
    forward: float,
    decoding: float,
) -> None:
    """Send the requests, and print what they took."""
    session = requests.Session()
    first = picture(0, given.height, given.width)
    for _ in range(5):
        ask(session, address, first)
    one = statistics.median(timed(lambda: ask(session, address, first)) for _ in range(20))
    print(f"forward pass {1000 * forward:.1f} ms, decoding {1000 * decoding:.1f} ms")
    print(f"one picture through the server: {1000 * one:.1f} ms")
    print(f"ratio: {one / (forward + decoding):.2f} (aim 1.2)")
    pictures = [picture(number, given.height, given.width) for number in range(given.at_once)]
    alone = [ask(session, address, each) for each in pictures]
    begun = time.perf_counter()
    with ThreadPoolExecutor(given.at_once) as pool:
        together = list(pool.map(lambda each: ask(requests.Session(), address, each), pictures))
    seconds = time.perf_counter() - begun
    wrong = sum(map(differ, together, alone))
    print(f"{given.at_once} requests at once: {seconds:.1f} s, {wrong} with another answer than alone")
    before, used, tenth, wrong = memory(server), processor_seconds(server), given.requests // 10, 0
    for number in range(given.requests):
        which = number % len(pictures)
        wrong += differ(ask(session, address, pictures[which]), alone[which])
        if number + 1 == tenth:
            early = memory(server)
    each = (processor_seconds(server) - used) / given.requests
    print(f"{given.requests} one after the other: all answered, {wrong} with another answer than alone")
    print(f"processor time of the server: {1000 * each:.1f} ms a request")
    print(
        f"memory: {before:.0f} MiB before, {early:.0f} MiB after {tenth} requests, {memory(server):.0f} MiB "
        f"after {given.requests}"
    )


if __name__ == "__main__":
    main()
