"""The command `study`: what is missing is run, what failed leaves a hole, what was killed goes on."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from warm import Ended, Warm

from fibrolab import api
from fibrolab.studies import definition, readme, results

pytestmark = [pytest.mark.slow, pytest.mark.timeout(580), pytest.mark.usefixtures("quick_children")]
ROOT = Path(__file__).parents[2]
SMALL = [
    "data.patients=40", "data.images_per_patient=1", "data.size=32", "trainer.max_epochs=1", "num_workers=0",
    "bootstrap.resamples=20",
]  # fmt: skip
Study = Callable[..., Ended]


@pytest.fixture
def ran(warm: Warm) -> Study:
    """Run the command, and return what it printed, output and errors together."""

    def run(root: Path, *words: str) -> Ended:
        given = [f"paths.root={root}", "bootstrap.resamples=50", *words]
        return warm.run(root / "log.txt", "fibrolab.study", *given)

    return run


def command(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, whose output and errors are apart."""
    given = [sys.executable, "-m", "fibrolab.study", f"paths.root={root}", "bootstrap.resamples=50", *words]
    return subprocess.run(given, capture_output=True, text=True, cwd=root)


def test_a_sweep_of_studies_is_refused(tmp_path: Path) -> None:
    done = command(tmp_path, "-m", "study=paper1,paper2")
    assert done.returncode == 1
    assert "leave -m out" in done.stderr


def written(root: Path, left_out: Sequence[str] = (), **arms: object) -> Path:
    """Write a study of two protocols, the first of which leaves some arms out."""
    content = {
        "title": "Two networks",
        "arms": arms,
        "protocols": {
            "paper": {"settings": ["split=paper_random"], "leaks": "patients are in training and test"},
            "audited": {"settings": ["split=grouped"]},
        },
        "measures": ["accuracy", "qwk"],
        "sizes": {"smoke": {"settings": SMALL, "without": {arm: {"paper": "no time"} for arm in left_out}}},
    }
    path = root / "mine" / "study.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_only_what_is_missing_or_changed_is_run_and_a_failed_arm_leaves_a_hole(
    ran: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = {"label": "One", "settings": ["model=single"]}
    broken = {"settings": ["model=multimodal"]}  # the phantom has no elastograms
    late = {"settings": ["model=single"], "weights": {"image": "broken"}}
    path = written(tmp_path, ("broken", "late"), one=one, broken=broken, late=late)
    first = command(tmp_path, f"study={path}", "size=smoke")
    assert first.returncode == 1
    assert "2 of 4 trainings did not finish" in first.stderr
    assert "audited late seed 0: it needs a run of broken, which did not finish." in first.stderr
    assert "failed. The model takes elastogram, which 'phantom' does not have." in first.stderr
    assert "Traceback" not in first.stderr
    tables = results.read(path.parent / "results" / "smoke")
    assert "/trainings/" not in "".join(tables["trainings"]["error"])  # results are shared
    assert "/trainings/" in first.stderr  # where the log of a failed training lies
    states = tables["trainings"].set_index(["protocol", "arm"])["state"]
    assert states["audited", "one"] == "finished"
    assert states["audited", "broken"] == states["audited", "late"] == "failed"
    text = (path.parent / "README.md").read_text()
    assert "| late | did not finish: it needs a run of broken" in text
    assert "**Not a valid test: patients are in training and test.**" in text
    assert set(tables["baselines"]["baseline"]) >= {"majority", "nearest_neighbour"}

    path = written(
        tmp_path,
        ("broken", "late"),
        one=one,
        broken={**one, "label": "Two", "settings": ["model=single", "optimizer.lr=0.01"]},
        late=late,
    )
    mended = ran(tmp_path, f"study={path}", "size=smoke")
    assert mended.returncode == 0, mended.output
    assert "missing  2 of 4 trainings" in mended.output
    now = results.read(path.parent / "results" / "smoke")["trainings"]
    was = tables["trainings"].set_index(["protocol", "arm"])["run"]
    assert now.set_index(["protocol", "arm"])["run"]["paper", "one"] == was["paper", "one"]
    again = api.study(f"paths.root={tmp_path}", f"study={path}", "size=smoke")
    assert "missing  0 of 4 trainings" in capsys.readouterr().out
    assert set(again.tables["trainings"]["run"]) == set(now["run"])

    page = path.parent / "README.md"
    content = page.read_text()
    page.write_text("# Ours\n\nA claim.\n\n" + content.partition("\n")[2])
    rebuilt = ran(tmp_path, f"study={path}", "size=smoke", "rebuild=true")
    assert rebuilt.returncode == 0, rebuilt.output
    assert page.read_text() == "# Ours\n\nA claim.\n\n" + content.partition("\n")[2]


def test_a_killed_study_goes_on_and_ends_as_one_that_was_not_killed(
    ran: Study, warm: Warm, tmp_path: Path
) -> None:
    path = written(
        tmp_path, one={"settings": ["model=single"]}, two={"settings": ["model=single", "optimizer.lr=0.01"]}
    )
    content = yaml.safe_load(path.read_text())
    del content["protocols"]["paper"]
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    log = tmp_path / "killed.txt"
    words = ["fibrolab.study", f"paths.root={tmp_path}", f"study={path}", "size=smoke"]
    latest = time.monotonic() + 240
    with warm.started(log, *words) as killed:
        while "#1 audited two" not in log.read_text() and time.monotonic() < latest and killed.poll() is None:
            time.sleep(0.1)
        assert killed.poll() is None, log.read_text()
    again = ran(tmp_path, f"study={path}", "size=smoke")
    assert again.returncode == 0, again.output
    assert "missing  1 of 2 trainings" in again.output
    table = results.read(path.parent / "results" / "smoke")["metrics"]
    whole = tmp_path / "whole"
    whole.mkdir()
    (whole / "cache").symlink_to(tmp_path / "cache")
    assert ran(whole, f"study={path}", "size=smoke").returncode == 0
    pd.testing.assert_frame_equal(results.read(path.parent / "results" / "smoke")["metrics"], table)


@pytest.fixture(scope="session")
def two_sources(kaggle_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That tree from two sources: F0, F1, F4 with a black border, and frames of CT volumes of F1 to F4."""
    root = tmp_path_factory.mktemp("sources") / "tree"
    shutil.copytree(kaggle_tree, root)
    for path in sorted(root.glob("F*/f*.png")):
        stage, number = path.parent.name, int(path.stem.partition("_")[2])
        if stage in ("F2", "F3") or (stage != "F0" and number % 2):
            path.rename(path.with_name(f"ct{number // 2 + 1}-{stage[1]}{number:02}.png"))
        else:
            path.with_name(f"copy_{number:02}.jpg").unlink(missing_ok=True)
            pixels = np.asarray(Image.open(path)).copy()
            pixels[:5] = 0
            Image.fromarray(pixels).save(path)
    return root


@pytest.mark.parametrize("name", definition.names(ROOT))
def test_the_studies_of_the_package_run_at_the_smallest_size(
    name: str, two_sources: Path, tmp_path: Path, ran: Study
) -> None:
    study = definition.read(name, ROOT)
    own = (
        []
        if any(word.startswith("data=phantom") for word in study.sizes["smoke"].settings)
        else [f"data.root={two_sources}"]
    )
    done = ran(tmp_path, f"study={name}", "size=smoke", "num_workers=0", *own)
    assert done.returncode == 0, done.output
    tables = results.read(tmp_path / "experiments" / name / "results" / "smoke")
    assert (tables["trainings"]["state"] == "finished").all()
    text = (tmp_path / "experiments" / name / "README.md").read_text()
    assert "**Verdict.**" in text
    assert text.startswith((ROOT / "experiments" / name / "README.md").read_text()[:40])
    assert readme.section(definition.read(name, tmp_path), "smoke", tables) in text
    kinds = {file.partition("_")[0] for file in tables["pictures"]["file"]}
    own_kinds = {"paper2": {"masks"}, "paper4": {"pairs"}}  # of grey scale and elastogram
    assert kinds == {"maps", "preprocessing"} | own_kinds.get(name, set())
    if name == "paper4":  # whose arms start from, and combine, other arms
        again = ran(tmp_path, f"study={name}", "size=smoke", "num_workers=0", "dry_run=true")
        assert "missing  0 of" in again.output
    assert results.NO_COMPARISON not in set(tables["comparisons"].get("family", []))
