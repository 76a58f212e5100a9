"""The page of all settings, written from the YAML files of `conf/` whenever the documentation is built."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

CONF = Path(__file__).parents[1] / "conf"
PAGE = "settings.md"
INTRODUCTION = """# Settings

This page is generated from the files in `conf/`. On the command line `GROUP=NAME` chooses
`conf/GROUP/NAME.yaml`, and `GROUP.SETTING=VALUE` changes a setting of it. Parts of a model are chosen by
their place, such as `backbone@model.branches.image=resnet18`. `--cfg job` prints the settings of a command
line.
"""


def on_files(files: Files, config: Any) -> Files:
    """Add the page to the documentation; mkdocs calls this function by its name."""
    files.append(File.generated(config, PAGE, content=settings_page()))
    return files


def settings_page() -> str:
    """Return the page: a section for each group, with the first sentence and the settings of each file."""
    roots = sorted(CONF.glob("*.yaml"))
    parts = [INTRODUCTION, "## Commands", *map(_entry, roots)]
    groups = sorted({path.parent for path in CONF.rglob("*.yaml")} - {CONF})
    for group in groups:
        name = group.relative_to(CONF).as_posix()
        if name.split("/")[0] != "hydra":
            parts += [f"## {name}", *map(_entry, sorted(group.glob("*.yaml")))]
    return "\n\n".join(parts) + "\n"


def _entry(path: Path) -> str:
    """Return title, first sentence, example command and content of a file."""
    lines = [
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package")
    ]
    sentence, *command = re.split(r": `?(?=python -m )", lines[0].removeprefix("# "), maxsplit=1)
    if not command:
        raise ValueError(f"{path}: the first line must be '# SENTENCE: python -m fibrolab.COMMAND ...'")
    example = f"Example: `{command[0].rstrip('`')}`"
    return f"### {path.stem}\n\n{sentence}.\n\n{example}\n\n```yaml\n{chr(10).join(lines[1:])}\n```"
