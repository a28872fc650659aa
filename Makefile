# make demo | test | setup | lint | format | sanitize | cards | site: everything happens in .venv
PYTHON ?= python3
VIDEO ?= out/demo/gesture.mp4
CLOUD ?= out/demo/tabletop.ply
JOBS ?= 2
TESTS ?= tests
BIN := .venv/bin
# The tests of a file run in one process, and files in their order: one with few tests is not short for that. Threads that
# wait must not spin where processes share the processors.
PYTEST := OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: setup demo test lint format sanitize cards site
setup: .venv/ready

.venv/ready: pyproject.toml $(wildcard zoo/ops/csrc/* zoo/ops/csrc/*/*) zoo/ops/build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	@$(BIN)/python tools/check_system.py
	@$(BIN)/zoo build-ops
	@touch $@

demo: setup
	@$(BIN)/python tools/make_demo_inputs.py --out out/demo
	@$(BIN)/python tools/demo.py --video '$(VIDEO)' --cloud '$(CLOUD)' --out out/demo

test: setup
	$(PYTEST) $(TESTS)

# The operators under the sanitisers for addresses and undefined behaviour.
SANITIZERS = $(foreach name,libasan.so libubsan.so libstdc++.so.6,$(shell $${CXX:-g++} -print-file-name=$(name)))
sanitize: setup
	rm -rf out/sanitize  # what was built there loads only beside the sanitisers' own libraries
	ZOO_CACHE=out/sanitize $(BIN)/zoo build-ops --sanitize
	ZOO_CACHE=out/sanitize ZOO_OPS=native LD_PRELOAD='$(SANITIZERS)' ASAN_OPTIONS=detect_leaks=0 \
		$(PYTEST) tests/ops

# The model cards and the README's table of checkpoints; the test suite fails where they are stale.
cards: setup
	$(BIN)/python tools/make_cards.py

# The website of results, from what `zoo bench --out model_cards/results` measured.
site: setup
	@$(BIN)/python tools/make_demo_inputs.py --out out/demo
	$(BIN)/python tools/make_site.py --video '$(VIDEO)' --cloud '$(CLOUD)' --out out/site

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@files=$$(git ls-files '*.cpp' '*.cu' '*.h' '*.cuh'); [ -z "$$files" ] || $(BIN)/clang-format --dry-run --Werror $$files

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	@files=$$(git ls-files '*.cpp' '*.cu' '*.h' '*.cuh'); [ -z "$$files" ] || $(BIN)/clang-format -i $$files
