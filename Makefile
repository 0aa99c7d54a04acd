# make demo   animates a small case; make test   runs every check. Both do all the set-up in .venv first.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: install install-peers demo test test-browser test-peers true-size clean

install: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench,cpu,export,test]'
	touch $@

# With PyTorch and diffusers, about 1 GB: what the engines are measured against.
install-peers: .venv/installed-peers

.venv/installed-peers: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench,cpu,export,test,peers]'
	touch $@

demo: install
	$(BIN)/python -m sa.benchmarks.demo

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

test-peers: install-peers
	$(BIN)/python -m pytest tests/benchmarks/peers

# The report in a real browser, which Debian calls chromium.
test-browser: install
	command -v chromium || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq chromium; } || \
		{ echo "install Chromium first, on Debian: apt-get install chromium"; exit 1; }
	$(BIN)/python -m pytest -m browser tests/benchmarks/test_report_browser.py

true-size: install
	$(BIN)/python -m sa.benchmarks.true_size

clean:
	rm -rf .cache demo build dist *.egg-info .pytest_cache .ruff_cache
