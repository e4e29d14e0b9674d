# `make demo` and `make test` set up whatever they need; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := .envs/bench
CORES ?= all
SNAKEMAKE := $(BIN)/snakemake --profile profiles/local --cores $(CORES)

.DEFAULT_GOAL := help
.PHONY: help setup demo check test bench lock clean

help:
	@echo "make setup  Snakemake and its Slurm plugin in .venv; the rest is installed when it is needed"
	@echo "make demo   from raw questions to results/leaderboard.csv and results/report.html, on a laptop"
	@echo "make check  format, lint, types, unit tests and dry runs (under 3 minutes)"
	@echo "make test   check, and the real thing end to end"
	@echo "make bench  speed and tokens beside other clients, benchmarks/README.md (about 20 minutes)"
	@echo "make lock   resolve the locked environments of envs/ anew"
	@echo "make clean  remove results/; the environments, models/ and .venv stay"

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Errata needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --editable .
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/python -m pip install -qq --editable '.[dev]'
	touch $@

setup: $(VENV)/.ready

demo: $(VENV)/.ready
	$(SNAKEMAKE)
	@$(BIN)/python -c 'print(open("results/leaderboard.csv").read(), end="")'
	@echo "The report: results/report.html"

check: $(VENV)/.ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/snakefmt --check --compact-diff Snakefile workflow/rules
	$(BIN)/mypy
	$(BIN)/pytest -m "not slow" --durations=15

test: check
	$(BIN)/pytest -m slow --durations=25

$(BENCH)/.ready: benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install -qq --requirement $<
	$(BENCH)/bin/python -m pip install -qq --no-deps --editable .
	touch $@

bench: $(VENV)/.ready $(BENCH)/.ready
	$(SNAKEMAKE) .envs/serve-cpu.ok results/smollm2-135m/base/model.gguf
	@for each in base_pass until_right tokens llamacpp many; do \
		echo "## $$each"; $(BENCH)/bin/python benchmarks/$$each.py || exit 1; done

lock: $(VENV)/.ready
	envs/lock.sh

clean:
	rm -rf results
