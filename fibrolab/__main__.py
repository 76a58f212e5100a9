"""The program `fibrolab`: `fibrolab train model=hybrid` runs `python -m fibrolab.train model=hybrid`."""

import runpy
import sys

from fibrolab.choices import unknown
from fibrolab.config import folder


def commands() -> dict[str, str]:
    """Return a sentence on each command: the first line of its root config without the example."""
    lines = {path.stem: path.read_text().partition("\n")[0] for path in sorted(folder().glob("*.yaml"))}
    return {name: line.removeprefix("# ").partition(": python -m")[0] for name, line in lines.items()}


def main() -> None:
    """Run the command that the first argument names."""
    known, (name, *words) = commands(), sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print("usage: fibrolab COMMAND [GROUP=NAME] [GROUP.KEY=VALUE] ...\n")
        for command, sentence in known.items():
            print(f"  {command:10} {sentence}")
        print("\n`fibrolab COMMAND --help` shows the settings of a command.")
    elif name not in known:
        sys.exit(f"error: {unknown('fibrolab', name, known)}")
    else:
        sys.argv[1:] = words
        runpy.run_module(f"fibrolab.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
