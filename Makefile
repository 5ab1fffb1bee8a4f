PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
KILLS ?= 500
INPUTS ?= 100000

.DEFAULT_GOAL := help
.PHONY: help demo test check bench faults fuzz

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY)  ## the whole line on drawn faces, ends with a report in demo/
	$(BIN)/mien demo --out demo

test: $(READY)  ## the tests
	$(BIN)/python -m pytest -q

check: $(READY)  ## format, lint, types, and whether the generated pages are current
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mien.methods --check docs

bench: $(READY)  ## every benchmark, one after the other
	@set -e; for script in $(wildcard benchmarks/*.py); do $(BIN)/python $$script; done

# Of 500: train 200, its export 12, compare and predict 100 each, the review page 50; 38 are left for mien data pack.
faults: $(READY)  ## kills, full disks, want of memory and rights, damage; KILLS=500
	MIEN_KILLS=$(KILLS) $(BIN)/python -m pytest -q -rA tests/faults/test_kills.py tests/faults/test_starved.py tests/faults/test_damage.py
	$(BIN)/python tests/faults/review_kills.py $$(($(KILLS) / 10))

fuzz: $(READY)  ## any bytes and values for every reader, recipe, model and request; INPUTS=100000
	MIEN_FUZZ=$(INPUTS) $(BIN)/python -m pytest -q -rA tests/faults/test_fuzz.py tests/faults/test_fuzz_http.py

# Made once, and again when pyproject.toml changes. The default Linux build of PyTorch is gigabytes.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("mien needs Python 3.11 or newer; $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[train,serve,scale,dev]"
	@touch $@
