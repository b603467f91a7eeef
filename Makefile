# The project's targets; `make` lists them. VENV names the environment, PYTHON the interpreter that makes it.
VENV ?= .venv
PYTHON ?= python3
WORKERS ?= auto

RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# one torch thread per worker: the workers fill the cores already
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(RUN) -m pytest -n $(WORKERS) --maxprocesses 8

.DEFAULT_GOAL := help
.PHONY: help setup check test test-all bench demo docs

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(STAMP)  ## make the environment and install everything, where pyproject.toml has changed

# the stamp comes last: an installation that breaks off is taken up again by the next call
$(STAMP): pyproject.toml
	@$(RUN) -m pip --version >/dev/null 2>&1 || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or newer is needed, but '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." \
	      "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }; \
	  $(PYTHON) -m venv "$(VENV)"; }
	$(RUN) -m pip install ".[dev,demo,docs,onnx,report,shards,trackio,datagen]"
	@touch $@

check: setup  ## format, lint, types, and the rules of the project
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) -m pytest tests/test_imports.py tests/test_project.py

test: setup  ## the plain tests: CPU, no network, no slow ones
	$(PYTEST)

test-all: setup  ## the slow tests too
	$(PYTEST) -m "not gpu and not network"

bench: setup  ## measure cost, growth, contraction, inverse, data and evaluation; draw the README's picture
	$(RUN) -m benchmarks.cost
	$(RUN) -m benchmarks.growth
	$(RUN) -m benchmarks.contraction
	$(RUN) -m benchmarks.inverse
	$(RUN) -m benchmarks.data
	$(RUN) -m benchmarks.evaluation
	$(RUN) -m benchmarks.picture

docs: setup  ## the documentation as a site, build/site/index.html; a warning ends it
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build

demo: setup  ## train five small models on embedded digits: one table and figures, some minutes on a CPU
	$(RUN) train_mnist.py --resume
