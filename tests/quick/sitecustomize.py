"""Changes of child processes: coarse figures, 2 of the 40 trees of the audit's baselines, rare collections.

Python imports a file of this name when it starts; the modules are changed when they are imported.
"""

import gc
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


def _coarse(module: ModuleType) -> None:
    def render(figure: Any) -> tuple[bytes, bytes]:
        from coarse_figures import coarse  # late: not every child draws

        return coarse(figure)

    module.render = render  # type: ignore[attr-defined]


def _few(module: ModuleType) -> None:
    module.TREES = 2  # type: ignore[attr-defined]


CHANGES: dict[str, Callable[[ModuleType], None]] = {
    "fibrolab.reporting.figures.style": _coarse,
    "fibrolab.data.audit.acquisition": _few,
}


class Changed(MetaPathFinder):
    """Finds the modules of `CHANGES`, and changes them when they have been executed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in CHANGES or not (spec := PathFinder.find_spec(name, path, target)) or not spec.loader:
            return None
        execute = spec.loader.exec_module

        def changed(module: ModuleType) -> None:
            execute(module)
            CHANGES[name](module)

        spec.loader.exec_module = changed  # type: ignore[method-assign]
        return spec


gc.set_threshold(100_000)  # collections take a quarter of the time of the imports, which leave no garbage
sys.meta_path.insert(0, Changed())
