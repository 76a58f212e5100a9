"""Items of model card and checklists, completed from the records of a run.

The items are in YAML files of this folder. An item may name the functions that complete it (`completed_by`),
what only the authors can add (`open`), and what is asked of them where the run has no record (`else`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fibrolab.reporting.checklists import data_items, method_items, result_items
from fibrolab.runs.trained_run import Run
from fibrolab.storage import parse_yaml

MODULES = (data_items, method_items, result_items)
FILLED, PARTLY, OPEN = "completed from the run", "completed in part", "open"
TO_COMPLETE = "To be completed by the authors"


@dataclass(frozen=True)
class Item:
    """An item, as far as it is completed.

    Attributes:
        number: Number of the item; empty in a model card.
        subject: Subject of the item.
        text: Text from the records of the run; empty where there is none.
        open: What only the authors can add; empty where the item is complete.
    """

    number: str
    subject: str
    text: str
    open: str

    @property
    def state(self) -> str:
        """Return whether it is complete: `FILLED`, `PARTLY` or `OPEN`."""
        if not self.text:
            return OPEN
        return PARTLY if self.open else FILLED


@dataclass(frozen=True)
class Document:
    """A checklist or a model card: its items by section."""

    name: str
    title: str
    source: str
    sections: Mapping[str, list[Item]]

    @property
    def tally(self) -> str:
        """Return ``31 of 44 completed from the run, 8 in part, 5 open``."""
        states = [item.state for items in self.sections.values() for item in items]
        filled, partly, left = (states.count(state) for state in (FILLED, PARTLY, OPEN))
        return f"{filled} of {len(states)} completed from the run, {partly} in part, {left} open"


def completed(name: str, run: Run) -> Document:
    """Return a checklist or the model card, completed as far as the run's records allow.

    Args:
        name: ``claim``, ``tripod_ai`` or ``model_card``.
        run: The run.

    Returns:
        The document; an item without a record is left to the authors.
    """
    content = content_of(name)
    sections = {
        title: [_item(entry, run) for entry in entries] for title, entries in content["sections"].items()
    }
    return Document(content["name"], content["title"], content["source"], sections)


@cache
def content_of(name: str) -> Mapping[str, Any]:
    """Return the content of a document's YAML file."""
    content = parse_yaml((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(content, dict), f"{name}.yaml holds a mapping"
    return content


def function(name: str) -> Callable[[Run], str]:
    """Return the function of this name that completes items."""
    (found,) = (getattr(module, name) for module in MODULES if name in vars(module))
    complete: Callable[[Run], str] = found
    return complete


def functions_of(entry: Mapping[str, Any]) -> list[str]:
    """Return the names of the functions that complete an item."""
    names = entry.get("completed_by", [])
    return [names] if isinstance(names, str) else list(names)


def _item(entry: Mapping[str, Any], run: Run) -> Item:
    text = " ".join(filter(None, (function(name)(run) for name in functions_of(entry))))
    left = entry.get("open") or ("" if text else entry.get("else", "this run did not record it"))
    return Item(str(entry.get("number", "")), entry["item"], text, left)
