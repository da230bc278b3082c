# One environment in .venv, made from nothing. PIP_ARGS goes to every pip call, for example another index.
PYTHON   ?= python3
PIP_ARGS ?=
SEED     ?= 0
DEMO     ?= .edgedistill/demo
BUILD_TESTS := tests/test_commands.py tests/test_line.py tests/export
BIN      := .venv/bin
PIP      := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints-cpu.txt $(PIP_ARGS)

# A demo needs no network but the package index; saying so keeps the weight look-ups from waiting for a hub.
export HF_HUB_OFFLINE ?= 1

.PHONY: help demo test check lint types package slow lowest lowest-light old-board aarch64 clean

help:  ## what can be made
	@sed -n 's/^\([a-z0-9%-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

.venv/installed: pyproject.toml constraints-cpu.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e ".[dev]"
	touch $@

demo: .venv/installed  ## build the example classifier and print its verdict (every verdict ends well here)
	@$(BIN)/edgedistill build --profile cpu --classes examples/parts/labels.txt --images examples/parts/pool \
	  --check examples/parts/check --teacher local-dir:examples/teacher --student-weights examples/start \
	  --input-size 160 --seed $(SEED) --out $(DEMO)/bundle-$(SEED) --work $(DEMO)/work \
	  || { code=$$?; test $$code -eq 3 -o $$code -eq 4 || exit $$code; }

# Two workers with one thread each: on two cores that beats one worker whose threads wait for each other.
test: .venv/installed  ## the default suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

check: lint types package slow  ## everything else that decides whether main is green

lint: .venv/installed  ## ruff
	$(BIN)/ruff check .

# mypy follows targets/ and profiles/ only under their installed names (package-dir), so it reads an installed copy.
types: .venv/installed  ## mypy
	rm -rf .edgedistill/types && mkdir -p .edgedistill/types
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target .edgedistill/types .
	cd .edgedistill/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml --python-version 3.11 edgedistill

# The sdist, the wheel, and the wheel alone in a fresh environment.
package: .venv/installed  ## the tests of what is installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow tests/packaging

# With the extras that the default suite does without: a real TensorRT parser, what the renders are made with, and
# diffusers, whose tests are not slow. Two workers; what shares a graph or a build is a group and stays on one of them
# (xdist_group).
slow: .venv/installed  ## the tests that take minutes
	for extra in trt-check tools synthesize; do $(PIP) -e ".[dev,$$extra]" \
	  || echo "the extra $$extra cannot be installed here: its tests say so and skip"; done
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup tests/tools tests/targets/test_trt_build.py \
	  tests/synthesis/test_pipeline_engine.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "slow and not matrix" --ignore tests/packaging

# The lowest versions that pyproject.toml allows, for direct dependencies. torch is that of constraints-cpu.txt: no
# index holds a CPU build of the lowest. PYTHON has to be 3.10 or 3.11: numpy's lowest has no wheels for later ones.
# onnx is for the tests, which write their graphs with it. Without build isolation setuptools is the lowest, too.
lowest: lowest-light  ## the tests of a build with the lowest versions that pyproject.toml allows, after lowest-light
	$(call lowest-environment,-e ".[build]" pytest hypothesis)
	OMP_NUM_THREADS=1 .edgedistill/$@/bin/python -m pytest -q $(BUILD_TESTS)

lowest-light: .venv/installed  ## the tests of the light half with its lowest versions, where there is no torch
	$(call lowest-environment,-e . pytest hypothesis onnx packaging)
	OMP_NUM_THREADS=1 PYTHONPATH=tests .edgedistill/$@/bin/python -m pytest -q -rfE -p without_workshop

# What JetPack 6 ships beside Python 3.10; PYTHON has to be that one, as the old Pillow has no wheels for later ones.
old-board: .venv/installed  ## the device side with the Pillow, numpy and Python of JetPack 6
	$(PYTHON) -m venv --clear .edgedistill/$@
	.edgedistill/$@/bin/pip install --quiet --disable-pip-version-check $(PIP_ARGS) --only-binary :all: \
	  pillow==9.0.1 numpy==1.21.6 onnxruntime==1.23.2
	EDGEDISTILL_OLD_BOARD=$(CURDIR)/.edgedistill/$@/bin/python OMP_NUM_THREADS=1 \
	  $(BIN)/python -m pytest -q -rs tests/targets/test_old_board.py

# qemu's user mode runs another processor's programs. Needs qemu-user and Debian's apt-get; see tools/aarch64_python.py.
aarch64: .venv/installed  ## the device side on an emulated aarch64: its tests, and every student family's answers
	$(BIN)/python tools/aarch64_python.py .edgedistill/$@ $(PIP_ARGS)
	EDGEDISTILL_AARCH64=$(CURDIR)/.edgedistill/$@/python OMP_NUM_THREADS=1 \
	  $(BIN)/python -m pytest -q -rs tests/targets/test_aarch64.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/aarch64.py

# GPU machines often hold an older torch. From PyPI it is the CUDA build, 7 GB, which computes on the CPU here.
torch-%:  ## the tests of a build with another torch: make torch-2.11
	$(PYTHON) -m venv --clear .edgedistill/$@
	.edgedistill/$@/bin/pip install --quiet --disable-pip-version-check $(PIP_ARGS) "torch==$*.*" -e ".[build]" pytest hypothesis
	OMP_NUM_THREADS=1 .edgedistill/$@/bin/python -m pytest -q $(BUILD_TESTS) tests/distil tests/teacher

# A fresh environment named after the target; $(1): what to install.
define lowest-environment
	$(PYTHON) -m venv --clear .edgedistill/$@
	$(BIN)/python tools/lowest_pins.py build > .edgedistill/$@/pins.txt
	$(LOWEST_PIP) setuptools
	$(LOWEST_PIP) --no-build-isolation $(1)
endef
LOWEST_PIP = .edgedistill/$@/bin/pip install --quiet --disable-pip-version-check -c .edgedistill/$@/pins.txt $(PIP_ARGS)

clean:  ## the environment and everything that was made
	rm -rf .venv .edgedistill build dist *.egg-info
