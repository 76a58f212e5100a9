"""`python -m fibrolab.evaluate`: the id of the run is checked before slow libraries are imported."""

import pytest
from compose import composed

from fibrolab import evaluate
from fibrolab.analyses import evaluating
from fibrolab.errors import ConfigError


@pytest.mark.parametrize("given", ["null", "[0a,0b]", "{a: 0b}", "1.5"])
def test_anything_but_one_run_is_refused(given):
    with pytest.raises(ConfigError, match=r"is not one run: give an id"):
        evaluate.imported(composed(f"run={given}", name="evaluate"))


def test_an_id_of_digits_alone_is_an_id(monkeypatch):
    evaluated = []
    monkeypatch.setattr(evaluating, "evaluate", lambda config: evaluated.append(config.run))
    config = composed("run=12345678901234567890123456789012", name="evaluate")
    evaluate.imported(config)(config)
    assert evaluated == ["12345678901234567890123456789012"]
