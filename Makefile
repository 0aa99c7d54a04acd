# make demo   animates a small case; make test   runs every check. Both do all the set-up in .venv first.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: install install-kernels install-peers demo gpu-check kernels puppet puppet-study test test-browser test-fp16 test-kernels test-peers \
	test-rtx true-size clean

install: .venv/installed

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench,cpu,export,prepare,test]'
	touch $@

# With PyTorch and diffusers, about 1 GB: what the engines are measured against.
install-peers: .venv/installed-peers

.venv/installed-peers: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench,cpu,export,prepare,test,peers]'
	touch $@

# With PyTorch and Triton, which compiles and interprets without a GPU.
install-kernels: .venv/installed-kernels

.venv/installed-kernels: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench,cpu,export,prepare,test,kernels]'
	touch $@

demo: install
	$(BIN)/python -m sa.benchmarks.demo

test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

test-peers: install-peers
	$(BIN)/python -m pytest tests/benchmarks/peers tests/benchmarks/puppet/test_training.py tests/benchmarks/puppet/test_trial.py

# fp16 engine sets, emulated, against float64.
test-fp16: install
	$(BIN)/python -m pytest -m fp16

# A whole fp16 set as plans of TensorRT for RTX, which builds without a GPU, and the builder's own tests; Linux and Windows only.
test-rtx: .venv/installed-rtx
	$(BIN)/python -m pytest -m rtx
	$(BIN)/python -m pytest tests/export/test_plans.py tests/runtime/test_tensorrt.py

.venv/installed-rtx: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench,cpu,export,prepare,test,tensorrt-rtx]'
	touch $@

# The report in a real browser, which Debian calls chromium.
test-browser: install
	command -v chromium || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq chromium; } || \
		{ echo "install Chromium first, on Debian: apt-get install chromium"; exit 1; }
	$(BIN)/python -m pytest -m browser tests/benchmarks/test_report_browser.py

# On a machine with an NVIDIA GPU, with whichever engine libraries are installed in .venv: the tests of tests/gpu and
# sa-bench, and one report of both, gpu-report/gpu-report.md. ONNX Runtime with CUDA takes the place of the one without.
gpu-check: .venv/installed-cuda
	$(BIN)/python -m sa.benchmarks.gpu_check --out gpu-report

.venv/installed-cuda: .venv/installed
	@$(BIN)/python -c 'from sa.benchmarks.gpu_check import require_gpu; require_gpu()'
	$(BIN)/python -m pip uninstall --quiet --yes onnxruntime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench,cuda,export,test]'
	touch $@

# The fused kernels' source in Triton's interpreter, and as plugins with NVIDIA's bindings, the oldest and newest known.
BINDINGS := $(addprefix .cache/tensorrt-bindings/,10.9.0.34 11.4.0.106)

test-kernels: install-kernels $(BINDINGS)
	$(BIN)/python -m pytest kernels

# 1 MB each: without the libraries, which are some GB.
.cache/tensorrt-bindings/%: | .venv/installed-kernels
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@.part tensorrt-cu12-bindings==$*
	mv $@.part $@

# Their PTX and machine code for every architecture, and what they take of a GPU; needs none.
kernels: install-kernels
	$(BIN)/python -m sa.kernels.compile --out build/kernels

# Teaches the puppet checkpoint, from where it was interrupted; states and sheets are in .cache/puppet.
puppet: install-peers
	$(BIN)/python -m sa.benchmarks.puppet.training

# What the settings of sa-run do to held-out puppets; writes the tables of docs/puppet.md.
puppet-study: install-peers
	$(BIN)/python -m sa.benchmarks.puppet.study

true-size: install
	$(BIN)/python -m sa.benchmarks.true_size

clean:
	rm -rf .cache demo gpu-report build dist *.egg-info .pytest_cache .ruff_cache
