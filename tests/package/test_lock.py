"""The lock: complete, hashed, installed; requirements.lock is requirements-cpu.lock, PyTorch and CUDA."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
BASE, GPU = "requirements-cpu.lock", "requirements.lock"
CPU_BUILD = metadata.version("torch").endswith("+cpu")


def blocks(name: str) -> list[str]:
    """Return the entries of a lock, each with the lines that belong to it: hashes, and who asks for it."""
    return re.findall(r"^\w.*\n(?: .*\n)*", (ROOT / name).read_text(), re.MULTILINE)


def pins(*names: str) -> dict[str, Version]:
    """Return the versions that this Python and machine get."""
    asked = [Requirement(block.split("\\\n")[0]) for name in names for block in blocks(name)]
    used = [one for one in asked if one.marker is None or one.marker.evaluate()]
    found = {canonicalize_name(one.name): Version(str(one.specifier).removeprefix("==")) for one in used}
    assert len(found) == len(used), "a package is pinned twice"
    return found


def declared() -> list[Requirement]:
    """Return the requirements of the package, of its extras and of its build."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = table["project"]["optional-dependencies"].values()
    return [
        Requirement(line)
        for group in (table["project"]["dependencies"], *extras, table["build-system"]["requires"])
        for line in group
        if not line.startswith("fibrolab[")  # which only repeats other extras
    ]


def needed(without_cuda: bool) -> dict[str, list[Requirement]]:
    """Return the requirements on each package, direct and indirect, as the installed packages declare them.

    PyTorch asks for CUDA on Linux only; elsewhere it asks for the same as its builds for the CPU.
    """
    found: dict[str, list[Requirement]] = {}
    seen, pending = set(), declared()
    while pending:
        asked = pending.pop()
        name = canonicalize_name(asked.name)
        found.setdefault(name, []).append(asked)
        for extra in {"", *asked.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            place = {"platform_system": "Darwin"} if without_cuda and name == "torch" else {}
            for line in metadata.requires(name) or []:
                needs = Requirement(line)
                if needs.marker is None or needs.marker.evaluate({"extra": extra, **place}):
                    pending.append(needs)
    return found


@pytest.mark.parametrize("name", [BASE, GPU])
def test_every_pin_is_exact_and_hashed(name: str) -> None:
    for block in blocks(name):
        first, *rest = block.splitlines()
        assert re.fullmatch(r"[a-z0-9.-]+==[\w.]+( ; .+)? \\", first), first
        hashes = [line for line in rest if not line.lstrip().startswith("#")]
        assert hashes, first
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in hashes), block


@pytest.mark.skipif(CPU_BUILD, reason="the GPU part of the lock is not installed beside PyTorch's CPU build")
def test_the_lock_holds_what_is_needed_and_nothing_else() -> None:
    assert f"-r {BASE}" in (ROOT / GPU).read_text().splitlines()
    assert set(pins(BASE, GPU)) == set(needed(without_cuda=False))


def test_the_lock_for_the_cpu_lacks_pytorch_and_cuda_only() -> None:
    assert set(pins(BASE)) == set(needed(without_cuda=True)) - {"torch", "torchvision"}


def test_every_pin_is_within_every_bound() -> None:
    versions = pins(BASE, GPU)
    for name, asked in needed(without_cuda=CPU_BUILD).items():
        for one in asked:
            locked = versions[name]
            assert one.specifier.contains(locked, prereleases=True), f"{one}: {locked} is locked"


def test_what_is_installed_is_the_lock() -> None:
    part = {name: version for name, version in pins(GPU).items() if not CPU_BUILD or name.startswith("torch")}
    for name, version in {**pins(BASE), **part}.items():
        assert Version(metadata.version(name)).public == version.public, f"{name}: run `make test`"


def test_make_installs_with_hashes_and_names_the_builds_for_the_cpu(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", BASE, GPU):
        shutil.copy(ROOT / name, tmp_path)
    told = {}
    for cpu in ("", "1"):
        told[cpu] = made(tmp_path, "-n", ".venv/.ready", f"CPU={cpu}").stdout
    assert f"--require-hashes --no-build-isolation -r {GPU}\n" in told[""]
    assert "+cpu" not in told[""]
    assert f"--require-hashes --no-build-isolation -r {BASE}\n" in told["1"]
    versions = pins(GPU)
    builds = f"torch=={versions['torch']}+cpu torchvision=={versions['torchvision']}+cpu"
    assert f"--index-url https://download.pytorch.org/whl/cpu {builds}\n" in told["1"]


def made(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run make without the MAKEFLAGS of `make test`."""
    env = {"PATH": os.environ["PATH"]}
    return subprocess.run(["make", *words], cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_make_keeps_to_the_builds_for_the_cpu(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", BASE, GPU):
        shutil.copy(ROOT / name, tmp_path)
    assert "touch .venv/.cpu\n" in made(tmp_path, "-n", ".venv/.ready", "CPU=1").stdout
    assert "+cpu" not in made(tmp_path, "-n", ".venv/.ready").stdout
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".cpu").touch()
    assert "+cpu" in made(tmp_path, "-n", ".venv/.ready").stdout


def test_make_refuses_an_environment_of_another_python(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", BASE, GPU):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "lib" / "python3.9").mkdir(parents=True)
    ended = made(tmp_path, ".venv/.ready", f"PYTHON={sys.executable}")
    assert ended.returncode != 0
    assert "remove .venv, or give the same Python" in ended.stderr
    assert not (tmp_path / ".venv" / "bin").exists()
