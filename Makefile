# The project's commands. Everything is installed into .venv from what this file and pyproject.toml name; nothing of the machine is
# used but python3 with venv, make and a C++17 compiler. Stamps in .venv/stamps tell what is installed.

PYTHON ?= python3
TORCH ?= torch==2.13.0
# The lint command gives other results with other versions of these.
LINTERS := ruff==0.17.6 mypy==2.4.1 import-linter==2.17

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --no-input
STAMPS := $(VENV)/stamps
SOURCES := pyproject.toml setup.py $(shell find csrc -type f 2>/dev/null)
CASE ?= codec noise
JOBS ?= 2

# torch's build looks for ninja on the path.
export PATH := $(abspath $(BIN)):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help release-check demo test bench asan docs matrix lint format clean

help: ## say what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1: /'

# Threads that wait without spinning: on a machine that is busy otherwise the demo takes minutes instead of one without this.
demo: $(STAMPS)/demo ## train two networks plainly and compressed; prints a table, writes gact-demo.png
	OMP_WAIT_POLICY=passive $(BIN)/gact demo --output gact-demo.png

test: $(STAMPS)/dev ## lint, types and all tests
	$(MAKE) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)

bench: $(STAMPS)/dev ## run benchmark cases, as in make bench CASE='codec step'; rows go to benchmarks/results
	$(BIN)/python benchmarks/run.py $(CASE)

# The sanitizers' libraries must be there before Python's; what Python itself never frees is no fault. Sanitizers map
# terabytes of addresses, so nothing runs where those are limited.
ASAN := LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1 PYTHONPATH=build/asan/lib

asan: $(STAMPS)/dev ## the C++ kernels under AddressSanitizer and UBSan, in build/asan: tests of operators and codes, small trainings
	GACT_SANITIZE=1 GACT_REQUIRE_EXTENSION=1 $(BIN)/python setup.py -q build --build-base build/asan --build-lib build/asan/lib
	$(ASAN) $(BIN)/python -m pytest -n0 -q --capture=sys tests/ops tests/codecs tests/test_allocator.py -k 'not triton and not address_space'
	$(ASAN) $(BIN)/python tests/sanitized.py

docs: $(STAMPS)/docs ## build the documentation site into build/docs; warnings and broken links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo 'build/docs/index.html; with search: $(BIN)/python -m http.server -d build/docs'

matrix: $(STAMPS)/dev ## the tests over releases of torch and Python (RELEASES='2.14.1/3.11', TESTS=tests/store): docs/compatibility.md
	$(BIN)/python benchmarks/matrix.py $(RELEASES) --jobs $(JOBS) $(if $(TESTS),--tests $(TESTS)) $(if $(PYTHONS),--python $(PYTHONS))

lint: $(STAMPS)/dev ## ruff, mypy and what may import what
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

release-check: $(STAMPS)/torch ## build what is released, install it where there is no compiler, and run gact doctor
	rm -rf dist build/release
	$(PIP) install --quiet build
	GACT_REQUIRE_EXTENSION=1 $(BIN)/python -m build --no-isolation
	CC=false CXX=false $(BIN)/python -m build --no-isolation --wheel --outdir dist/pure
	$(PYTHON) -m venv build/release
	build/release/bin/pip --disable-pip-version-check install --quiet '$(TORCH)' "$$(ls dist/*.whl)[cli]"
	cd build/release && CC=false CXX=false bin/gact doctor
	build/release/bin/pip --disable-pip-version-check install --quiet --force-reinstall --no-deps dist/pure/*.whl
	cd build/release && CC=false CXX=false bin/gact doctor
	ls dist dist/pure

format: $(STAMPS)/dev ## let ruff format the sources
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean: ## remove what was built and installed
	rm -rf $(VENV) build dist src/gact/_C*.so src/gact.egg-info gact-demo.png
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and by version: the package's build imports it, and no later step may put another build in its place.
$(STAMPS)/torch: Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet '$(TORCH)' 'setuptools>=77' wheel ninja
	mkdir -p $(STAMPS)
	touch $@

$(STAMPS)/demo: $(STAMPS)/torch $(SOURCES)
	$(PIP) install --quiet --no-build-isolation '$(TORCH)' -e '.[demo,cli]'
	touch $@

$(STAMPS)/docs: $(STAMPS)/torch $(SOURCES)
	$(PIP) install --quiet --no-build-isolation '$(TORCH)' -e '.[docs]'
	touch $@

$(STAMPS)/dev: $(STAMPS)/torch $(SOURCES)
	GACT_REQUIRE_EXTENSION=1 $(PIP) install --quiet --no-build-isolation '$(TORCH)' $(LINTERS) -e '.[dev]'
	touch $(STAMPS)/demo $(STAMPS)/docs $@
