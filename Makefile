PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
KILLS ?= 500
INPUTS ?= 100000
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test check bench faults fuzz lowest

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY)  ## the whole line on drawn faces, ends with a report in demo/
	$(BIN)/mien demo --out demo

test: $(READY)  ## the tests, two at a time; WORKERS=2
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

check: $(READY)  ## format, lint, types, and whether the generated pages are current
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m mien.methods --check docs

bench: $(READY)  ## what is how fast, with its floor beside it; 3 to 10 minutes
	@$(BIN)/python benchmarks/bench.py

# Of 500: train 200, its export 12, compare and predict 100 each, data pack 38, the review page 50.
faults: $(READY)  ## kills, full disks, want of memory and rights, damage; KILLS=500
	MIEN_KILLS=$(KILLS) $(BIN)/python -m pytest -q -rA tests/faults/test_kills.py tests/faults/test_starved.py tests/faults/test_damage.py
	$(BIN)/python tests/faults/review_kills.py $$(($(KILLS) / 10))

fuzz: $(READY)  ## any bytes and values for every reader, recipe, model and request; INPUTS=100000
	MIEN_FUZZ=$(INPUTS) $(BIN)/python -m pytest -q -rA tests/faults/test_fuzz.py tests/faults/test_fuzz_http.py

# PyTorch apart, which docs/dependencies.py tells of, and Schemathesis, which wants newer ones: its tests are skipped. Old versions warn of new ones.
lowest: $(READY)  ## the tests with the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv .lowest
	$(BIN)/python docs/dependencies.py --lowest > .lowest/lowest.txt
	.lowest/bin/python -m pip install --quiet --disable-pip-version-check --constraint .lowest/lowest.txt \
		--editable ".[train,tabular,serve,video,hub,scale]" cleanlab crepes httpx httpx2 hypothesis pandas playwright pytest scikit-image
	.lowest/bin/python -m pytest -q -o filterwarnings=default

# Made once, and again when pyproject.toml changes. The default Linux build of PyTorch is gigabytes.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("mien needs Python 3.11 or newer; $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[train,serve,scale,dev]"
	@touch $@
