PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Versions the tests passed with, for this Python; `make install CONSTRAINTS=` keeps a torch that is already in .venv.
CONSTRAINTS ?= $(wildcard constraints/python$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt)
# Another Ray than the pinned one: `make install RAY='ray[tune]==2.52.*'`.
RAY ?=

.PHONY: install demo infinite-compute gallery docs fast quick test check format clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	cat $(CONSTRAINTS) /dev/null $(if $(RAY),| grep -v '^ray==') > $(VENV)/constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt -e '.[dev,bench]' $(if $(RAY),'$(RAY)')
	touch $@

# Small models first; from them the loss of the largest is forecast, then those train, and the report scores the forecast.
DEMO := results/demo
SWEEPS := orchestrator/sweeps
demo: install
	$(BIN)/sweeplaw launch $(SWEEPS)/demo.toml --store $(DEMO)
	$(BIN)/sweeplaw launch $(SWEEPS)/demo_rates.toml --store $(DEMO)
	test -d $(DEMO)/forecasts || $(BIN)/sweeplaw forecast register $(DEMO) --at N=128k,D=983k
	$(BIN)/sweeplaw launch $(SWEEPS)/demo_largest.toml --store $(DEMO)
	$(BIN)/sweeplaw forecast score $(DEMO)
	$(BIN)/sweeplaw report $(DEMO)

# Recipes where data is short: tuned, ensembles, students, and one page that compares them.
infinite-compute: install
	$(BIN)/python examples/infinite_compute/study.py --out results/infinite-compute

# Phenomena with their claims, numbers and verdicts, into docs/results: half an hour on two cores.
gallery: install
	$(BIN)/python examples/gallery/make.py

# The site of the documentation, into build/site; warnings, such as a link that leads nowhere, are errors.
docs: export NO_MKDOCS_2_WARNING := 1
docs: install
	$(BIN)/python -m mkdocs build --strict

# Where it is set, as containers do, each worker compiles all tests anew: seven seconds of processor time.
unexport PYTHONDONTWRITEBYTECODE
PYTEST := $(BIN)/python -m pytest
# Files at a time. Three on two cores take longer than two.
WORKERS ?= 2
# tests/conftest.py puts the files that take longest first: xdist would begin with those of the most tests, and end with
# one worker in a file of few slow ones.
PARALLEL := $(PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# Each worker has a core of its own: threads of the BLAS would wait for each other (22 s of CPU instead of 68 to 82 for two
# folders of fits, on a busy machine). Tests that need two threads say so themselves.
fast quick test: export OMP_NUM_THREADS := 1
fast quick test: export OPENBLAS_NUM_THREADS := 1

# Pure tests: no Ray, no Slurm, no other process. Under a minute on two idle cores.
fast: install
	$(PARALLEL) -m "not ray and not kill and not slurm and not process and not heavy and not slow"

# Every test that takes only seconds.
quick: install
	$(PARALLEL) -m "not slow"

# Everything.
test: install
	$(PARALLEL) --durations 15

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
