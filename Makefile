# One environment in .venv, made from nothing. PIP_ARGS goes to every pip call, for example
#   make demo PIP_ARGS="--index-url https://download.pytorch.org/whl/cpu --extra-index-url https://pypi.org/simple"
PYTHON   ?= python3
PIP_ARGS ?=
SEED     ?= 0
DEMO     ?= .edgedistill/demo
BIN      := .venv/bin
PIP      := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints-cpu.txt $(PIP_ARGS)

# A demo needs no network but the package index; saying so keeps the weight look-ups from waiting for a hub.
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test check lint types package slow clean

.venv/installed: pyproject.toml constraints-cpu.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e ".[dev]"
	touch $@

demo: .venv/installed  ## build the example classifier and print its verdict (pass and fail both end well here)
	@$(BIN)/edgedistill build --profile cpu --classes examples/parts/labels.txt --images examples/parts/pool \
	  --check examples/parts/check --teacher local-dir:examples/teacher --student-weights examples/start \
	  --input-size 160 --seed $(SEED) --out $(DEMO)/bundle-$(SEED) --work $(DEMO)/work \
	  || { code=$$?; test $$code -eq 3 || exit $$code; }

# Two workers with one thread each: on two cores that beats one worker whose threads wait for each other.
test: .venv/installed  ## the default suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

check: lint types package slow  ## everything else that decides whether main is green

lint: .venv/installed
	$(BIN)/ruff check .

# mypy follows targets/ and profiles/ only under their installed names (package-dir), so it reads an installed copy.
types: .venv/installed
	rm -rf .edgedistill/types && mkdir -p .edgedistill/types
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target .edgedistill/types .
	cd .edgedistill/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml --python-version 3.11 edgedistill

# The sdist, the wheel, and the wheel alone in a fresh environment.
package: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow tests/packaging

# With the extras that the default suite does without: a real TensorRT parser, and what the renders are made with.
slow: .venv/installed
	$(PIP) -e ".[dev,trt-check,tools]" || echo "these extras cannot be installed here: their tests say so and skip"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/tools tests/targets/test_trt.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow --ignore tests/packaging

clean:
	rm -rf .venv .edgedistill build dist *.egg-info
