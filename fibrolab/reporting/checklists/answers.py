"""Questions of model card and checklists, and what a run answers of them by itself.

The questions stand in YAML files of this folder. An item may name functions that answer it (`answer`), what
only a person can add (`open`), and what a person is asked where the run knows nothing (`else`). An answer is
taken only from what the run holds, never guessed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fibrolab.reporting.checklists import data_items as data_answers
from fibrolab.reporting.checklists import method_items as setup_answers
from fibrolab.reporting.checklists import result_items as result_answers
from fibrolab.runs.trained_run import Run

HOMES = (data_answers, setup_answers, result_answers)
FILLED, PARTLY, OPEN = "filled from the run", "filled in part", "open"
UNANSWERED = "To be answered by the authors"


@dataclass(frozen=True)
class Answer:
    """One question with what is known of it.

    Attributes:
        number: Of the item; empty in a model card.
        asks: The question.
        text: What the run says; empty where it does not know.
        open: What only a person can add; empty where nothing is left.
    """

    number: str
    asks: str
    text: str
    open: str

    @property
    def state(self) -> str:
        """How far it is answered: `FILLED`, `PARTLY` or `OPEN`."""
        if not self.text:
            return OPEN
        return PARTLY if self.open else FILLED


@dataclass(frozen=True)
class Sheet:
    """A whole list of questions, by its sections."""

    name: str
    title: str
    source: str
    sections: Mapping[str, list[Answer]]

    @property
    def tally(self) -> str:
        """``31 of 44 filled from the run, 8 in part, 5 open``."""
        states = [answer.state for answers in self.sections.values() for answer in answers]
        filled, partly, left = (states.count(state) for state in (FILLED, PARTLY, OPEN))
        return f"{filled} of {len(states)} filled from the run, {partly} in part, {left} open"


def answered(name: str, run: Run) -> Sheet:
    """A list of questions, filled as far as the run knows.

    Args:
        name: ``claim``, ``tripod_ai`` or ``model_card``.
        run: Whose answers.

    Returns:
        The list; where a run does not know what it might have, a person is asked.
    """
    content = questions(name)
    sections = {title: [_answer(item, run) for item in items] for title, items in content["sections"].items()}
    return Sheet(content["name"], content["title"], content["source"], sections)


def questions(name: str) -> dict[str, Any]:
    """A list as it stands in its file."""
    content = yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(content, dict), f"{name}.yaml holds a mapping"
    return content


def function(name: str) -> Callable[[Run], str]:
    """The function that answers, by the name that an item gives."""
    (found,) = (getattr(home, name) for home in HOMES if name in vars(home))
    answer: Callable[[Run], str] = found
    return answer


def named(item: Mapping[str, Any]) -> list[str]:
    """The names of the functions that answer an item."""
    names = item.get("answer", [])
    return [names] if isinstance(names, str) else list(names)


def _answer(item: Mapping[str, Any], run: Run) -> Answer:
    text = " ".join(filter(None, (function(name)(run) for name in named(item))))
    left = item.get("open") or ("" if text else item.get("else", "this run did not record it"))
    return Answer(str(item.get("number", "")), item["asks"], text, left)
