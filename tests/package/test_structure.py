"""Structural rules, checked on the source code: imports, sizes, docstrings, declared libraries."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from compose import prepared

PACKAGE = Path(__file__).parents[2] / "fibrolab"
CONF = PACKAGE.parent / "conf"
FORBIDDEN = {
    "models": ("lightning", "hydra", "mlflow", "fibrolab.data", "fibrolab.modules", "fibrolab.evaluation"),
    "evaluation": (
        "lightning",
        "hydra",
        "mlflow",
        "torch",
        "fibrolab.data",
        "fibrolab.models",
        "fibrolab.modules",
    ),
    "data": (
        "mlflow",
        "hydra",
        "timm",
        "fibrolab.models",
        "fibrolab.modules",
        "fibrolab.losses",
        "fibrolab.phantom",
    ),
    "runs": ("mlflow", "fibrolab.analyses", "fibrolab.reporting", "fibrolab.training"),
    "exporting": ("mlflow", "hydra", "fibrolab.analyses", "fibrolab.reporting", "fibrolab.training"),
    "modules": ("mlflow", "hydra", "fibrolab.data"),
    "explanation": (
        "mlflow",
        "hydra",
        "fibrolab.runs",
        "fibrolab.training",
        "fibrolab.analyses",
        "fibrolab.reporting",
    ),
    "reporting": (
        "mlflow",
        "lightning",
        "torch",
        "hydra",
        "fibrolab.data",
        "fibrolab.modules",
        "fibrolab.models",
        "fibrolab.analyses",
    ),
}
ONLY_IN = {
    "mlflow": {"tracking.py", "tracked_run.py", "tracking_models.py"},
    "albumentations": {"data/augment.py"},
}
LONGEST_FILE, LONGEST_FUNCTION = 600, 70


class Definition(NamedTuple):
    """A function or a class of a file."""

    name: str
    is_function: bool
    lines: int
    docstring: str


class Source(NamedTuple):
    """Facts on a file that the rules ask for, read once for all of them."""

    imports: frozenset[str]
    definitions: tuple[Definition, ...]
    docstring: str | None


@cache
def source(path: Path) -> Source:
    tree = ast.parse(path.read_text())
    found, definitions = set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            lines, is_function = (node.end_lineno or 0) - node.lineno, isinstance(node, ast.FunctionDef)
            definitions.append(Definition(node.name, is_function, lines, ast.get_docstring(node) or ""))
    return Source(frozenset(found), tuple(definitions), ast.get_docstring(tree))


def imports(path: Path) -> frozenset[str]:
    return source(path).imports


def is_below(module: str, name: str) -> bool:
    return module == name or module.startswith(f"{name}.")


def files(folder: str) -> list[Path]:
    return sorted((PACKAGE / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", sorted(FORBIDDEN))
def test_imports_have_one_direction(folder: str) -> None:
    assert files(folder)
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {module}"
        for path in files(folder)
        for module in imports(path)
        if any(is_below(module, name) for name in FORBIDDEN[folder])
    ]
    assert not wrong


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_a_library_is_imported_in_one_file_only(library: str) -> None:
    known = {
        path.relative_to(PACKAGE).as_posix()
        for path in files("")
        if any(is_below(module, library) for module in imports(path))
        or any(f"{module}".endswith(".MLFlowLogger") and library == "mlflow" for module in imports(path))
    }
    assert known == ONLY_IN[library]


def test_files_and_functions_stay_small() -> None:
    large = [str(path) for path in files("") if path.read_text().count("\n") > LONGEST_FILE]
    for path in files(""):
        for found in source(path).definitions:
            if found.is_function and found.lines > LONGEST_FUNCTION:
                large.append(f"{path.name}: {found.name}")
    assert not large


FRAGMENTS = ("What", "Who", "Whose", "Where", "Which", "Of", "Whether", "How")


def test_docstrings_do_not_begin_with_a_fragment() -> None:
    wrong = []
    for path in [*files(""), *(PACKAGE.parent / "benchmarks").glob("*.py")]:
        for found in source(path).definitions:
            if found.docstring.partition(" ")[0] in FRAGMENTS:
                wrong.append(f"{path.name}: {found.name}")
    assert not wrong


def test_every_file_has_a_docstring() -> None:
    undocumented = [str(path) for path in files("") if not source(path).docstring]
    assert not undocumented


@pytest.mark.parametrize(
    "path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.relative_to(CONF).as_posix()
)
def test_every_config_opens_with_a_sentence_and_a_command(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# @package")]
    assert lines[0].startswith("# ")
    assert "python -m fibrolab." in lines[0]


def test_a_command_starts_without_the_slow_libraries() -> None:
    code = "import sys, fibrolab.train, hydra; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "hydra" in loaded
    slow = {"torch", "lightning", "timm", "mlflow", "albumentations", "torchmetrics", "monai", "pandas"}
    assert not slow & set(loaded)


def test_there_are_no_import_cycles() -> None:
    """Imports inside functions count too: they only hide a cycle."""
    names = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in files("")
    }
    waiting = {name: (imports(path) & names.keys()) - {name} for name, path in names.items()}
    for name, used in waiting.items():  # `from package import module` also names the package
        waiting[name] = {
            module for module in used if not any(is_below(other, module) for other in used - {module})
        }
    while free := [name for name, used in waiting.items() if not used]:
        for name in free:
            del waiting[name]
        for used in waiting.values():
            used -= set(free)
    assert not waiting


def test_every_library_that_is_imported_is_declared() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    used = ("dicom", "export", "itk", "kaggle", "serve", "slurm")
    needs = [*project["dependencies"], *(need for name in used for need in extras[name])]
    declared = {re.match(r"[\w.-]+", need)[0].lower().replace("_", "-") for need in needs}  # type: ignore[index]
    roots = {module.partition(".")[0] for path in files("") for module in imports(path)}
    owners = metadata.packages_distributions()
    undeclared = {
        root
        for root in roots - set(sys.stdlib_module_names) - {"fibrolab"}
        if not {name.lower().replace("_", "-") for name in owners.get(root, [])} & declared
    }
    assert not undeclared


NETWORKS = ("torch", "torchvision", "timm", "lightning", "torchmetrics", "monai")
AUDITED = ("data.patients=60", "data.images_per_patient=1", "data.size=32")


# In the order in which one process runs them: none may load what a later one must not.
COMMANDS: tuple[tuple[tuple[str, ...], int, tuple[str, ...]], ...] = (
    (("train", "--help"), 0, (*NETWORKS, "mlflow", "pandas", "hydra")),
    (("train", "modl=hybrid"), 1, (*NETWORKS, "mlflow", "pandas")),
    (("train", "model=hybird"), 1, (*NETWORKS, "mlflow", "pandas")),
    (("train", "optimizer.lr=-1"), 1, (*NETWORKS, "mlflow", "pandas")),
    (("plan", "auc=0.85", "against=0.75", "prevalence=0.4"), 0, (*NETWORKS, "mlflow", "cv2", "matplotlib")),
    (("train", "data=kaggle_fibrosis", "data.root=/nowhere"), 1, (*NETWORKS, "mlflow")),
    (("train", "split=kfold", "split.fold=9"), 1, (*NETWORKS, "mlflow")),
    (("evaluate", "run=abc", "data=table", "data.path=nowhere.csv"), 1, (*NETWORKS, "mlflow")),
    (("evaluate", "run=abc", "data=table", "data.path=lacks_image.csv"), 1, (*NETWORKS, "mlflow")),
    (("train", "data=table", "data.path=lacks_image.csv"), 1, (*NETWORKS, "mlflow")),
    (("train", "data=clips", "data.path=lacks_image.csv"), 1, (*NETWORKS, "mlflow")),
    (("audit", *AUDITED), 0, (*NETWORKS, "mlflow", "albumentations")),
    (("markers", *AUDITED), 0, (*NETWORKS, "albumentations")),
    (("evaluate", "run=abc"), 1, NETWORKS),
    (("compare", "runs=[a,b]"), 1, NETWORKS),
    (("explain", "run=abc"), 1, NETWORKS),
    (("monitor", "run=abc", "predictions=nowhere"), 1, NETWORKS),
    (("stack", "runs=[a,b]"), 1, NETWORKS),
    (("serve", "run=abc"), 1, NETWORKS),
)
PROGRAM = """
import json, sys
from fibrolab.__main__ import main
found = []
for words in json.load(sys.stdin):
    sys.argv, code = ["fibrolab", *words], 0
    try:
        main()
    except SystemExit as ended:
        code = 1 if isinstance(ended.code, str) else ended.code or 0
    found.append((code, list(sys.modules)))
print(f"\\n{json.dumps(found)}")
"""


@pytest.fixture(scope="module")
def loaded(
    tmp_path_factory: pytest.TempPathFactory, fresh_database: Path, cache: Path
) -> list[tuple[int, list[str]]]:
    """Exit code of each of `COMMANDS`, and all modules that one process has loaded after it."""
    root = prepared(tmp_path_factory.mktemp("loaded"), fresh_database, cache)
    (root / "lacks_image.csv").write_text("file,label\na.png,F0\n")
    lines = [
        [*words, *([] if words[0] == "plan" or "--help" in words else [f"paths.root={root}"])]
        for words, _, _ in COMMANDS
    ]
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(lines), capture_output=True, text=True, check=True, cwd=root,
    )  # fmt: skip
    found: list[tuple[int, list[str]]] = json.loads(ended.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=[" ".join(words) for words, _, _ in COMMANDS])
def test_a_command_imports_no_more_than_it_needs(number: int, loaded: list[tuple[int, list[str]]]) -> None:
    """An audit needs no networks; help and refusals need no numerical libraries."""
    (_, expected, forbidden), (code, modules) = COMMANDS[number], loaded[number]
    assert code == expected
    assert "fibrolab.config" in modules
    assert not set(modules) & set(forbidden)
