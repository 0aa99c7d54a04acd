# make demo   animates a small case; make test   runs every check. Both do all the set-up in .venv first.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# What is installed is what constraints.txt says, also of what builds the project itself.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
INSTALL := $(PIP) --no-build-isolation --editable
SETUP := bench,cpu,export,openvino,prepare,serve,test
# Two workers keep two cores busy; a third would wait for memory on a machine of 24 GiB.
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n 2 --dist loadscope

.PHONY: install install-kernels install-peers install-ppdiffusers check cli-reference demo gpu-check gpu-pack kernels \
	lock map puppet puppet-study serve-demo test test-browser test-comfyui test-fp16 test-kernels test-latest test-peers \
	test-ppdiffusers test-ray test-rtx test-serve true-size types versions clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) setuptools wheel
	$(INSTALL) '.[$(SETUP)]'
	touch $@

# With PyTorch and diffusers, about 1 GB: what the engines are measured against.
install-peers: $(VENV)/installed-peers

$(VENV)/installed-peers: $(VENV)/installed
	$(INSTALL) '.[$(SETUP),peers]'
	touch $@

# With PyTorch and Triton, which compiles and interprets without a GPU.
install-kernels: $(VENV)/installed-kernels

$(VENV)/installed-kernels: $(VENV)/installed
	$(INSTALL) '.[$(SETUP),kernels]'
	touch $@

# PaddleMIX's library, 2.4 GB, in an environment of its own: it needs packages at versions that diffusers excludes.
install-ppdiffusers: .venv-ppdiffusers/installed

PPDIFFUSERS := benchmarks/peers/ppdiffusers-requirements.txt

.venv-ppdiffusers/installed: pyproject.toml $(PPDIFFUSERS)
	$(PYTHON) -m venv .venv-ppdiffusers
	.venv-ppdiffusers/bin/python -m pip install --quiet --disable-pip-version-check -r $(PPDIFFUSERS) --editable .
	.venv-ppdiffusers/bin/python -c 'import ppdiffusers'
	touch $@

# The exact versions of constraints.txt, anew: the newest that pyproject.toml admits.
lock:
	$(PYTHON) .ci/lock.py

# The suite on the newest versions that pyproject.toml admits, in an environment of its own; for maintainers.
test-latest:
	$(PYTHON) -m venv --clear .venv-latest
	.venv-latest/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$(SETUP)]'
	.venv-latest/bin/python -m pytest $(PARALLEL)

# On which versions of Python, and on which systems, each extra can be installed; writes the table of docs/installation.md.
versions:
	$(PYTHON) -m venv .cache/uv
	.cache/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(PYTHON) .ci/versions.py .cache/uv/bin/uv

# sa-serve with that checkpoint, and files to try it with in demo/try.
serve-demo: install
	$(BIN)/python -m sa.benchmarks.serve_demo

demo: install
	$(BIN)/python -m sa.benchmarks.demo

# What one runs at every change: style, types, which folder may import which, and the tests that export nothing.
check: types
	$(PYTEST) $(PARALLEL) -m '$(QUICK)'

QUICK := not export and not browser and not comfyui and not fp16 and not gpu and not ppdiffusers and not rtx and not serve

types: install .cache/packages/sa
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --cache-dir .cache/imports
	$(BIN)/mypy

# The packages under their import names, which type checkers and editors can follow: pyproject.toml maps the folders.
.cache/packages/sa:
	mkdir -p $@
	for package in benchmarks configs export kernels runtime; do ln -sfn ../../../$$package $@/$$package; done

test: types
	$(PYTEST) $(PARALLEL)

test-peers: install-peers
	$(PYTEST) $(PARALLEL) tests/benchmarks/peers tests/benchmarks/puppet/networks tests/benchmarks/puppet/training tests/benchmarks/measure/test_quality_trial.py

# The UNet of ppdiffusers as a peer: its worker, and an independent Paddle network against this project's.
test-ppdiffusers: install install-ppdiffusers
	$(PYTEST) -m ppdiffusers tests/benchmarks/peers/test_ppdiffusers.py

# sa-batch on Ray clusters of this machine.
test-ray: $(VENV)/installed-ray
	$(PYTEST) tests/runtime/batch/test_ray.py

$(VENV)/installed-ray: $(VENV)/installed
	$(INSTALL) '.[$(SETUP),ray]'
	touch $@

# fp16 engine sets, emulated, against float64.
test-fp16: install
	$(PYTEST) $(PARALLEL) -m fp16

# A whole fp16 set as plans of TensorRT for RTX, which builds without a GPU, and the builder's own tests; Linux and Windows only.
test-rtx: $(VENV)/installed-rtx
	$(PYTEST) $(PARALLEL) -m '' tests/export/targets/test_rtx_sets.py tests/export/targets/test_plans.py tests/runtime/backends/test_tensorrt.py

$(VENV)/installed-rtx: $(VENV)/installed
	$(INSTALL) '.[$(SETUP),tensorrt-rtx]'
	touch $@

# The report in a real browser, which Debian calls chromium.
test-browser: install chromium
	$(PYTEST) -m browser tests/benchmarks/report/test_report_browser.py

# sa-serve: its API against its description, kill -9 at random moments, a load, and its page in Chromium.
test-serve: $(VENV)/installed-serve chromium
	$(PYTEST) -m serve tests/runtime/serve

$(VENV)/installed-serve: $(VENV)/installed
	$(INSTALL) '.[$(SETUP),serve-test]'
	touch $@

# The node pack in a real ComfyUI, whose checkout is at COMFYUI: its pictures against sa-run's, interrupts, its page.
# COMFYUI_PYTHON is a Python with ComfyUI's requirements and this project; by default one is made, of some GB.
COMFYUI_PYTHON ?= .venv-comfyui/bin/python

test-comfyui: comfyui-checkout $(VENV)/installed-serve chromium $(COMFYUI_PYTHON)
	COMFYUI=$(COMFYUI) COMFYUI_PYTHON=$(abspath $(COMFYUI_PYTHON)) $(PYTEST) -m comfyui tests/runtime/comfyui

.PHONY: comfyui-checkout
comfyui-checkout:
	@test -f "$(COMFYUI)/main.py" || { echo "give a checkout of ComfyUI: make test-comfyui COMFYUI=DIR"; exit 1; }

.venv-comfyui/bin/python:
	$(PYTHON) -m venv .venv-comfyui
	.venv-comfyui/bin/python -m pip install --quiet --disable-pip-version-check -r $(COMFYUI)/requirements.txt \
		--editable '.[cpu,prepare]'

.PHONY: chromium
chromium:
	command -v chromium || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq chromium; } || \
		{ echo "install Chromium first, on Debian: apt-get install chromium"; exit 1; }

# On a machine with an NVIDIA GPU: the tests of tests/gpu and sa-bench on an engine set of true size, and one report of both,
# gpu-report/gpu-report.md. It needs neither Paddle nor weights: engine sets come from benchmarks/gpu/sets.tar.xz. ONNX
# Runtime with CUDA takes the place of the one without.
gpu-check: $(VENV)/installed-cuda
	$(BIN)/python -m sa.benchmarks.gpu_check --out gpu-report

# Apart from `installed`, whose extras include Paddle and ONNX Runtime without CUDA.
$(VENV)/installed-cuda: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) setuptools wheel
	$(BIN)/python -m pip uninstall --quiet --yes onnxruntime
	$(INSTALL) '.[bench,cuda]'
	@$(BIN)/python -c 'from sa.benchmarks.gpu_check import require_gpu; require_gpu()'
	touch $@

# The pack that gpu-check draws its engine sets from, made anew: 20 minutes, 25 GB of disk and 9 GiB of memory.
gpu-pack: install
	$(BIN)/python -m sa.benchmarks.gpu_check --pack benchmarks/gpu/sets.tar.xz

# The fused kernels' source in Triton's interpreter, and as plugins with NVIDIA's bindings, the oldest and newest known.
BINDINGS := $(addprefix .cache/tensorrt-bindings/,10.9.0.34 11.4.0.106)

test-kernels: install-kernels $(BINDINGS)
	$(PYTEST) $(PARALLEL) tests/kernels

# 1 MB each: without the libraries, which are some GB.
.cache/tensorrt-bindings/%: | $(VENV)/installed-kernels
	$(PIP) --no-deps --target $@.part tensorrt-cu12-bindings==$*
	mv $@.part $@

# Their PTX and machine code for every architecture, and what they take of a GPU; needs none.
kernels: install-kernels
	$(BIN)/python -m sa.kernels --out build/kernels

# Trains the puppet checkpoint and resumes where it was interrupted; states and sheets are in .cache/puppet.
puppet: install-peers
	$(BIN)/sa-bench puppet-train

# Measures what the settings of sa-run do to held-out puppets, and writes the tables of docs/puppet.md, faster.md and refinement.md.
puppet-study: install-peers
	$(BIN)/sa-bench puppet-study
	$(BIN)/sa-bench puppet-prices
	$(BIN)/sa-bench puppet-refining

# Writes docs/cli.md from the commands' parsers.
cli-reference: install
	$(BIN)/python -m sa.benchmarks.cli_reference

# Export, load and one pair of UNet calls at StableAnimator's true size; about 10 GB in .cache/true-size.
true-size: install
	$(BIN)/sa-bench true-size

# Which folder imports which.
map: install
	@$(BIN)/python .ci/map.py

clean:
	rm -rf .cache demo gpu-report build dist *.egg-info .pytest_cache .ruff_cache
