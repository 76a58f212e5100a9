# Two commands for a fresh clone: `make demo` and `make test`. Both set .venv up from the lock first.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-slow check docs clean

demo: $(READY)
	$(BIN)/python -m fibrolab.train

test: $(READY) check
	$(BIN)/pytest -m "not slow" -n auto --dist worksteal

test-slow: $(READY)
	$(BIN)/pytest -m slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "fibrolab needs Python 3.11 to 3.13, $(PYTHON) is %d.%d: make PYTHON=python3.11" % v)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $(READY)

docs: $(READY)
	$(BIN)/mkdocs build --strict

clean:
	rm -rf site .venv cache outputs multirun
