# Two commands for a fresh clone: `make demo` and `make test`. Both set .venv up from the lock first.
# PIP_EXTRA goes to pip; PyTorch's own index of CPU builds saves 4 GB on a machine without a GPU:
# make demo PIP_EXTRA="--extra-index-url URL"
PYTHON ?= python3
PIP_EXTRA ?=
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test test-slow check docs clean

demo: $(READY)
	@$(BIN)/python -c 'import torch; print("PyTorch", torch.__version__, "for", f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU")'
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
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_EXTRA) -c constraints.txt -e ".[dev]"
	@touch $(READY)

docs: $(READY)
	$(BIN)/mkdocs build --strict

clean:
	rm -rf site .venv cache outputs multirun
