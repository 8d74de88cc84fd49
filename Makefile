# Slipway. The first `make up` needs Python 3.11 or newer and a C library: no root, no system packages.

PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
    $(name) -c 'import sys; print("$(name)" if sys.version_info >= (3, 11) else "")' 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
# The packages' own stamp inside the venv and node_modules: removing either folder brings it back.
PY_STAMP := $(VENV)/.installed
NPM_STAMP := node_modules/.installed
# Not compiled ahead: Python compiles the few modules that are imported, at their first import.
PIP := $(BIN)/pip install --quiet --no-compile --disable-pip-version-check
# npm, where the machine has one; else the one that comes as a wheel.
NPM := $(or $(shell command -v npm 2>/dev/null),$(BIN)/npm)

export PYTHONPATH := $(CURDIR):$(CURDIR)/platform

.PHONY: up install test check format bench bench-training clean
.DEFAULT_GOAL := up

up: install
	@exec $(BIN)/python -m slipway.processes --end-with-parent

install: $(PY_STAMP) $(NPM_STAMP)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Slipway needs Python 3.11 or newer (try: make PYTHON=/path/to/python3.11)." >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

$(PY_STAMP): requirements/dev.lock requirements/torch.txt requirements/starter.txt | $(BIN)/python
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)  # an interrupted first run
	@echo "Installing Python packages (once; some minutes)"
	@$(PIP) --require-hashes -r requirements/dev.lock
	@$(PIP) -r requirements/torch.txt
	@$(PIP) --no-deps --require-hashes -r requirements/starter.txt
	@touch $@

$(NPM_STAMP): package.json package-lock.json .npmrc | $(PY_STAMP)
	@echo "Installing front-end packages"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(NPM) ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# Files of tests are dealt to as many processes as there are cores, at most four; one process: ARGS="-n 0".
test: install
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: install
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# Serving needs nothing, and PEERS=1 installs other servers to stand beside it; the others run where the data is.
# QUICK=1 goes through all of it in some minutes, to see that it runs: its figures say little.
SERVING := image steady fairness limits processes memory start swap rollout idle kills batch
QUICK_run := --seconds 1 --rounds 1
QUICK_image := --seconds 1 --rounds 1
QUICK_steady := --seconds 2 --rounds 1
QUICK_fairness := --seconds 1 --rounds 1
QUICK_limits := --seconds 1 --rounds 1
QUICK_processes := --seconds 1 --rounds 1
QUICK_memory := --requests 20000
QUICK_start := --rounds 1
QUICK_swap := --swaps 2
QUICK_rollout := --swaps 2 --clients 20
QUICK_idle := --connections 1000 --seconds 1 --rounds 1
QUICK_kills := --kills 2
QUICK_batch := --rounds 1 --rows 4000
INGEST := rates near_duplicates browse
QUICK_rates := --mb 10 --images 500 --rounds 1
QUICK_near_duplicates := 5000
QUICK_browse := --rows 20000 --rounds 2
# Training beside its peers takes some hours, and SEEDS=1 a third of them.
DATA ?= ../shared/data
SEEDS ?= 3
bench: install
	@$(BIN)/python benchmarks/serving/run.py $(if $(PEERS),--peers) $(if $(QUICK),$(QUICK_run))
	@$(foreach name,$(SERVING),$(BIN)/python benchmarks/serving/$(name).py $(if $(QUICK),$(QUICK_$(name))) &&) true
	@$(foreach name,$(INGEST),$(BIN)/python benchmarks/ingest/$(name).py $(if $(QUICK),$(QUICK_$(name))) &&) true

bench-training: install
	@$(BIN)/python benchmarks/training/startup.py
	@$(if $(wildcard $(DATA)/sms.csv),,echo "No $(DATA)/sms.csv: training is not measured" && exit 1)
	@$(BIN)/python benchmarks/training/throughput.py --data $(DATA)
	@$(BIN)/python benchmarks/training/text.py --data $(DATA) --seeds $(SEEDS)
	@$(BIN)/python benchmarks/training/images.py --data $(DATA) --seeds $(SEEDS)
	@$(BIN)/python -m benchmarks.training.recommendation $(DATA)/lastfm.csv:user:artist --movielens --seeds $(SEEDS)
	@$(BIN)/python -m benchmarks.training.recommendation_scale
	@$(BIN)/python benchmarks/training/memory.py

# Keeps SLIPWAY_HOME: that is your data.
clean:
	@rm -rf $(VENV) node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache test-results
