"""A plain `pip install .` is complete: the package contains the configs, and Hydra finds its plugins."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_an_installed_package_finds_its_configs(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index"]
    site = tmp_path / "site"
    subprocess.run([*pip, "--no-build-isolation", "--target", str(site), str(ROOT)], check=True, timeout=120)
    settings = {**os.environ, "PYTHONPATH": str(site)}
    code = "import fibrolab.config as config; print(config.folder())"
    found = subprocess.run(
        [sys.executable, "-c", code], env=settings, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()) == site / "fibrolab" / "conf"
    assert (site / "hydra_plugins" / "fibrolab" / "launcher.py").is_file()
    assert not (site / "hydra_plugins" / "__init__.py").exists()
    studies = site / "fibrolab" / "experiments"
    assert (studies / "paper1" / "study.yaml").is_file()
    assert not list(studies.glob("*/results/*/*.csv"))  # results, and pictures that may not be published
    assert not list(studies.glob("*/results/**/*.png"))
    words = [sys.executable, "-m", "fibrolab.train", "--cfg", "job", "experiment=paper1/vgg16", "data.root=."]
    completed = subprocess.run(words, env=settings, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    assert "paper1-vgg16" in completed.stdout
