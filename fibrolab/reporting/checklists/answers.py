"""Items of model card and checklists, and their answers from the records of a run.

The items are in YAML files of this folder. An item may name the functions that answer it (`answer`), what
only the authors can add (`open`), and what they are asked where the run has no record (`else`). Answers come
from the records of the run only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fibrolab.reporting.checklists import data_items, method_items, result_items
from fibrolab.runs.trained_run import Run

MODULES = (data_items, method_items, result_items)
FILLED, PARTLY, OPEN = "completed from the run", "completed in part", "open"
UNANSWERED = "To be completed by the authors"


@dataclass(frozen=True)
class Answer:
    """One item with its answer.

    Attributes:
        number: Of the item; empty in a model card.
        item: Subject of the item.
        text: Answer from the run; empty where it has no record.
        open: What only the authors can add; empty where the item is complete.
    """

    number: str
    item: str
    text: str
    open: str

    @property
    def state(self) -> str:
        """Return whether it is answered: `FILLED`, `PARTLY` or `OPEN`."""
        if not self.text:
            return OPEN
        return PARTLY if self.open else FILLED


@dataclass(frozen=True)
class Sheet:
    """A complete list of items by section."""

    name: str
    title: str
    source: str
    sections: Mapping[str, list[Answer]]

    @property
    def tally(self) -> str:
        """Return ``31 of 44 completed from the run, 8 in part, 5 open``."""
        states = [answer.state for answers in self.sections.values() for answer in answers]
        filled, partly, left = (states.count(state) for state in (FILLED, PARTLY, OPEN))
        return f"{filled} of {len(states)} completed from the run, {partly} in part, {left} open"


def answered(name: str, run: Run) -> Sheet:
    """Return a list of items, answered as far as the run allows.

    Args:
        name: ``claim``, ``tripod_ai`` or ``model_card``.
        run: Source of the answers.

    Returns:
        The list; an item without a record asks the authors.
    """
    content = questions(name)
    sections = {title: [_answer(item, run) for item in items] for title, items in content["sections"].items()}
    return Sheet(content["name"], content["title"], content["source"], sections)


def questions(name: str) -> dict[str, Any]:
    """Return the content of a list's file."""
    content = yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(content, dict), f"{name}.yaml holds a mapping"
    return content


def function(name: str) -> Callable[[Run], str]:
    """Return the answering function of the given name."""
    (found,) = (getattr(module, name) for module in MODULES if name in vars(module))
    answer: Callable[[Run], str] = found
    return answer


def named(item: Mapping[str, Any]) -> list[str]:
    """Return the names of the functions that answer an item."""
    names = item.get("answer", [])
    return [names] if isinstance(names, str) else list(names)


def _answer(item: Mapping[str, Any], run: Run) -> Answer:
    text = " ".join(filter(None, (function(name)(run) for name in named(item))))
    left = item.get("open") or ("" if text else item.get("else", "this run did not record it"))
    return Answer(str(item.get("number", "")), item["item"], text, left)
