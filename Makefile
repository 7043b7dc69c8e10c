# make setup | demo | test | soak | lint | bench | clean. Everything sets up .venv by itself first.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PY := .venv/bin/python
JOBS ?= 2
# One thread a worker: two workers that each start a pool of threads are slower than one.
export OMP_NUM_THREADS ?= 1

.PHONY: help setup demo test soak lint bench clean

help:
	@echo 'make setup   the .venv alone (PYTHON=..., TORCH_INDEX=... as tools/setup.sh says)'
	@echo 'make demo    corrupt, reconstruct, measure and report on rendered people, into demo/'
	@echo 'make test    the whole test suite (JOBS=2)'
	@echo 'make soak    kill robench evaluate hundreds of times, watch its memory; writes docs/soak.md'
	@echo 'make lint    ruff and mypy --strict'
	@echo 'make bench   speed against other programs'
	@echo 'make clean   remove caches and demo/'

setup:
	@tools/setup.sh

demo: setup
	@tools/demo.sh

# worksteal keeps neighbours on one worker, so that a fixture of a module is mostly made once, and has no long tail.
test: setup
	$(PY) -m pytest -n $(JOBS) --dist worksteal

soak: setup
	$(PY) tests/robench/engine/faults/soak.py

lint: setup
	$(PY) -m ruff check .
	$(PY) -m mypy

bench: setup
	$(PY) -m benchmarks

clean:
	rm -rf demo build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
