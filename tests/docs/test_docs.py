"""README and docs: every command composes, every link has a target, every code block compiles."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from compose import composed

from fibrolab.models.networks import build_user_network
from fibrolab.study import divided
from fibrolab.targets import imported

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docker/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
OUTSIDE = 3  # pages that are not below docs/
STUDIES = sorted((ROOT / "experiments").glob("*/README.md"))
NAMES = [path.relative_to(ROOT).as_posix() for path in (*PAGES, *STUDIES)]
MOST = 9 * 1024  # bytes of the README
COMMANDS = {path.stem for path in (ROOT / "conf").glob("*.yaml")}
GENERATED = {"settings.md"}  # pages that are written by the build


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def lines(path: Path) -> list[list[str]]:
    """The words of every command of a page; a backslash continues a line."""
    found = []
    for block in blocks(path, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                found.append(words)
    return found


def overrides(words: list[str]) -> tuple[str, list[str]] | None:
    """Command and overrides of `python -m fibrolab.NAME ...` or `fibrolab NAME ...`, also in a container."""
    if words[:2] == ["docker", "compose"] and "python" in words:
        words = words[words.index("python") :]
    if words[:2] == ["python", "-m"] and words[2].startswith("fibrolab."):
        return words[2].removeprefix("fibrolab."), words[3:]
    return (words[1], words[2:]) if words[0] == "fibrolab" and len(words) > 1 else None


def jobs(words: list[str]) -> list[str]:
    """Overrides that are composed: the first job of a sweep, or a study without its space."""
    if "-m" not in words:
        return words
    words = [
        word for word in words if word != "-m" and not re.search(r"=(tag|choice|interval|range)\(", word)
    ]
    return [word if re.search(r"[\[{]", word) else word.partition(",")[0] for word in words]


def commands() -> list[tuple[str, str, list[str]]]:
    return [
        (path.relative_to(ROOT).as_posix(), *found)
        for path in (*PAGES, *STUDIES)
        for words in lines(path)
        if (found := overrides(words))
    ]


@pytest.mark.parametrize(("page", "command", "words"), commands())
def test_every_command_composes(page: str, command: str, words: list[str]) -> None:
    """An unknown command, group or setting raises."""
    assert command in COMMANDS
    if command == "study":  # its other words are settings of the trainings
        words = divided(words)[0]
    composed(*jobs(words), name=command)


@pytest.mark.parametrize("page", NAMES)
def test_other_commands_exist(page: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in lines(ROOT / page):
        if words[0] == "make":
            assert words[1] in targets
        elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
            assert (ROOT / words[2].replace(".", "/")).with_suffix(".py").is_file()
        elif overrides(words) is None:
            others = ("python3", "pip", "mlflow", ".", "python", "pre-commit", "export", "torchrun", "srun")
            assert words[0] in (*others, "apt", "curl", "docker", "kubectl") or words[0].startswith(
                "docker/"
            ), words
            assert all((ROOT / word).exists() for word in words if word.startswith("docker/")), words


def test_commands_of_docker_name_services_that_exist() -> None:
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    found = [words for page in NAMES for words in lines(ROOT / page) if words[:2] == ["docker", "compose"]]
    named = {word for words in found for word in words[3:] if word in services}
    assert {"postgres", "mlflow", "train", "train-cpu"} <= named
    for words in found:
        if any(verb in words for verb in ("run", "exec", "stop", "start", "build")):
            assert set(words) & set(services), words


@pytest.mark.parametrize("page", NAMES)
def test_every_link_has_a_target(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        place, _, anchor = target.partition("#")
        file = path.parent / place if place else path
        if file.name in GENERATED and file.parent.name == "docs":
            continue
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= MOST


@pytest.mark.parametrize("page", [name for name in NAMES if blocks(ROOT / name, "python")])
def test_python_blocks_compile(page: str) -> None:
    for block in blocks(ROOT / page, "python"):
        assert ast.parse(block, page).body, block


def test_what_contributors_are_told_to_change_exists() -> None:
    told = re.findall(
        r"`([A-Z_]+)` of `(fibrolab/[\w/]+\.py)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    )
    assert ("KINDS", "fibrolab/data/formats/recognition.py") in told
    for name, file in told:
        assert re.search(rf"^{name}\b", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), (name, file)


def test_the_parts_on_the_page_of_extending_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / "docs" / "extending.md"
    (tmp_path / "parts.py").write_text("\n".join(blocks(page, "python")))
    monkeypatch.syspath_prepend(tmp_path)
    settings = yaml.safe_load(*blocks(page, "yaml"))
    network = build_user_network(settings["_target_"], 32, {"width": settings["width"]})
    assert network.module(torch.zeros(2, 3, 32, 32)).shape == (2, settings["width"])
    for stage in range(5):
        (tmp_path / f"a-F{stage}.png").touch()
    assert imported("parts.load", "data._target_")(root=str(tmp_path)).labels.tolist() == [0, 1, 2, 3, 4]


def test_every_setting_is_on_the_page_of_settings() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from settings_page import settings_page
    finally:
        sys.path.pop(0)
    page = settings_page()
    for path in (ROOT / "conf").rglob("*.yaml"):
        group = path.relative_to(ROOT / "conf").parts[0]
        if group != "hydra":
            assert f"\n### {path.stem}\n" in page
            assert path.read_text(encoding="utf-8").splitlines()[-1] in page


@pytest.mark.slow
def test_the_documentation_builds_and_loads_nothing_from_the_network(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = sorted(tmp_path.rglob("index.html"))
    assert len(pages) >= len(PAGES) - OUTSIDE
    for page in pages:
        html = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|img)[^>]+src=\"(?:https?:)?//", html)
        assert not re.findall(r"<link[^>]+rel=\"stylesheet\"[^>]+href=\"(?:https?:)?//", html)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_children")
def test_the_python_page_runs(tmp_path: Path) -> None:
    code = "\n".join(blocks(ROOT / "docs" / "python.md", "python"))
    assert "api.train(" in code
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
