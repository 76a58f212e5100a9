# Two commands for a fresh clone: `make demo` and `make test`. Both set .venv up from the lock first.
# On a machine without a GPU, `make demo CPU=1` takes PyTorch's CPU builds instead and saves 4 GB; later
# commands keep to them (.venv/.cpu).
PYTHON ?= python3
UV ?= uv
BIN := .venv/bin
CPU ?= $(if $(wildcard .venv/.cpu),1)
READY := .venv/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK := $(if $(CPU),requirements-cpu.lock,requirements.lock)
CPU_INDEX := https://download.pytorch.org/whl/cpu
CPU_BUILDS = $(shell sed -nE 's/^(torch|torchvision)==([^ ]+).*/\1==\2+cpu/p' requirements.lock)

.PHONY: demo test test-slow check docs lock clean

demo: $(READY)
	@$(BIN)/python -c 'import torch; print("PyTorch", torch.__version__, "for", f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU")'
	$(BIN)/python -m fibrolab.train

test: $(READY) check
	$(BIN)/pytest -m "not slow" -n auto --dist worksteal

test-slow: $(READY)
	$(BIN)/pytest -m slow -n 2 --dist loadfile

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tools that build packages come from the lock too: Hydra's parser antlr4 has no wheel on PyPI.
$(READY): pyproject.toml requirements.lock requirements-cpu.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "fibrolab needs Python 3.11 to 3.13, $(PYTHON) is %d.%d: make PYTHON=python3.11" % v)'
	@$(PYTHON) -c 'import os, sys; v = "python%d.%d" % sys.version_info[:2]; sys.exit(0 if not os.path.isdir(".venv/lib") or os.path.isdir(".venv/lib/" + v) else ".venv has another Python than $(PYTHON), which is " + v + ": remove .venv, or give the same Python with make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(if $(CPU),@touch .venv/.cpu,@rm -f .venv/.cpu)
	sed -n '/^setuptools==/,/[^\]$$/p' requirements-cpu.lock | $(PIP) --require-hashes -r /dev/stdin
	$(if $(CPU),$(PIP) --no-deps --index-url $(CPU_INDEX) $(CPU_BUILDS))
	$(PIP) --require-hashes --no-build-isolation -r $(LOCK)
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $(READY)

# Pins that still fit the bounds stay as they are; to raise one: make lock UPGRADE="--upgrade-package monai"
PIN := $(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet
SPLIT = awk -v cpu=$(1) -v gpu=$(2) '/^[a-z]/ {on_gpu = /^(torch|torchvision|triton|cuda-[^=]+|nvidia-[^=]+)==/} \
  {print >> (on_gpu ? gpu : cpu)}'

lock:
	mkdir -p build
	sed '/^-r/d' requirements-cpu.lock requirements.lock > build/requirements.lock
	$(PIN) pyproject.toml --extra dev $(UPGRADE) -o build/requirements.lock
	sed -i '/^[^#-]/,$$d' requirements-cpu.lock requirements.lock docker/train-cpu.lock docker/train.lock docker/server.lock
	$(call SPLIT,requirements-cpu.lock,requirements.lock) build/requirements.lock
	rm -f build/train.lock build/server.lock
	$(PIN) pyproject.toml docker/train.in --extra postgres --extra serve --no-annotate -c build/requirements.lock -o build/train.lock
	$(call SPLIT,docker/train-cpu.lock,docker/train.lock) build/train.lock
	$(PIN) docker/server.in --no-annotate -c build/requirements.lock -o build/server.lock
	cat build/server.lock >> docker/server.lock

docs: $(READY)
	$(BIN)/mkdocs build --strict

clean:
	rm -rf site .venv cache outputs multirun
