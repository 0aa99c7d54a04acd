# make demo   animates a small case; make test   runs every check. Both do all the set-up in .venv first.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: install demo test true-size clean

install: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[cpu,export,test]'
	touch $@

demo: install
	$(BIN)/python -m sa.benchmarks.demo

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

true-size: install
	$(BIN)/python -m sa.benchmarks.true_size

clean:
	rm -rf .cache demo build dist *.egg-info .pytest_cache .ruff_cache
