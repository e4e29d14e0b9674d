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
	@echo "make setup  install Snakemake and its Slurm plugin in .venv; rules install the rest when they need it"
	@echo "make demo   run the laptop configuration, from raw questions to results/leaderboard.csv and results/report.html"
	@echo "make check  check format, lint, types and layers, and run the unit tests and dry runs (2 minutes)"
	@echo "make test   run the checks and every test, with real models, servers, trainers and Slurm (25 minutes)"
	@echo "make bench  measure speed and tokens beside other clients, see benchmarks/README.md (20 minutes)"
	@echo "make lock   resolve the locked environments of envs/ again"
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

# `make test LANES="lint slurm"` runs some lanes only; tests/lanes.py lists them.
check test: $(VENV)/.ready-dev
	$(BIN)/python tests/lanes.py $@ $(LANES)

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
