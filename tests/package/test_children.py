"""The processes of slow tests: warm commands end as commands do, and quick children are quick."""

import subprocess
import sys
from pathlib import Path

import pytest
from warm import Warm

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("module", "words", "code", "printed"),
    [
        ("benchmarks.delong", ["--help"], 0, "usage: "),
        ("benchmarks.delong", ["--nothing"], 2, "error: unrecognized arguments: --nothing"),
        ("fibrolab.study", ["-m", "study=paper1"], 1, "error: study starts its trainings itself"),
        ("fibrolab.study", ["study=nothing"], 1, "error: "),
        ("benchmarks.nothing", [], 1, "No module named benchmarks.nothing"),
    ],
)
def test_a_warm_command_ends_as_a_command(
    module: str, words: list[str], code: int, printed: str, warm: Warm, tmp_path: Path
) -> None:
    place = [f"paths.root={tmp_path}"] if module.startswith("fibrolab") else []
    ended = warm.run(tmp_path / "log.txt", module, *words, *place)
    assert ended.returncode == code
    assert printed in ended.output


@pytest.mark.usefixtures("quick_children")
def test_a_quick_child_draws_few_pixels_and_fits_few_trees() -> None:
    code = """if True:
        from matplotlib.figure import Figure
        from fibrolab.data.audit import acquisition
        from fibrolab.reporting.figures import style
        print(acquisition.TREES, len(style.render(Figure())[0]) < 2000)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("2 True\n", "")
