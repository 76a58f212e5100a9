"""`python -m fibrolab.evaluate`: which run is meant, before anything slow is imported."""

import pytest
from compose import composed

from fibrolab import evaluate
from fibrolab.analyses import evaluating
from fibrolab.errors import ConfigError


@pytest.mark.parametrize("given", ["null", "[0a,0b]", "{a: 0b}", "1.5"])
def test_what_is_no_single_run_is_refused(given):
    with pytest.raises(ConfigError, match=r"is not one run: give an id"):
        evaluate.imported(composed(f"run={given}", name="evaluate"))


def test_an_id_of_digits_alone_is_an_id(monkeypatch):
    asked = []
    monkeypatch.setattr(evaluating, "evaluate", lambda config: asked.append(config.run))
    config = composed("run=12345678901234567890123456789012", name="evaluate")
    evaluate.imported(config)(config)
    assert asked == ["12345678901234567890123456789012"]
