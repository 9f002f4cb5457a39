PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo quick test check format clean

install: $(VENV)/.installed

# `make install CONSTRAINTS=` keeps a torch that is already in .venv (a CUDA build, say).
$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e '.[dev]'
	touch $@

demo: install
	$(BIN)/sweeplaw launch orchestrator/sweeps/demo.toml --store results/demo
	$(BIN)/sweeplaw report results/demo

# Every promise that takes seconds: seven minutes on two cores.
quick: install
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not alone"

# Two files at a time: most of the time goes into waiting for Ray, Slurm and killed processes. What measures the whole
# machine comes last, by itself.
test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations 15 -m "not alone"
	$(BIN)/python -m pytest -m alone

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
