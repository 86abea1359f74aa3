# The two commands of the README are `make demo` and `make test`; both set up what they need in .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CYCLES ?= 50
COUNT ?= 2000
SEED ?= 1
MINUTES ?= 10
WORKERS ?= logical
SHARED := ../shared/conformance
# The tests run side by side, each worker from its own place in the list; who has no more takes from the others. The soak has the machine for
# itself: it watches memory and files of ten processes for 20 seconds, and a slow machine looks like growth.
PYTEST := $(BIN)/python -m pytest
SIDE_BY_SIDE := -n $(WORKERS) --maxprocesses 4 --dist worksteal
ALONE := tests/soak
TESTS := $(PYTEST) $(SIDE_BY_SIDE) --ignore $(ALONE) && $(PYTEST) $(ALONE)

.PHONY: demo test test-pure conformance check docs fmt attacks bench fuzz sanitize crash images isolation soak clean

demo: $(VENV)/.ready
	$(BIN)/python examples/cities.py

test: $(VENV)/.ready
	$(TESTS)

test-pure: $(VENV)/.ready
	export DOCDB_PURE=1; $(TESTS)

conformance: $(VENV)/.ready
	@if [ -d $(SHARED) ]; then $(BIN)/python -m tests.compliance; else echo "conformance: skipped, $(SHARED) is not here"; fi

check: $(VENV)/.ready
	$(BIN)/pip -q install ruff mypy import-linter cython-lint
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/cython-lint --max-line-length 160 docdb/_native

docs: $(VENV)/.ready
	$(BIN)/python docs/build_reference.py
	$(BIN)/python docs/build_pictures.py

fmt: $(VENV)/.ready
	$(BIN)/pip -q install ruff
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: $(VENV)/.ready
	$(BIN)/pip -q install --disable-pip-version-check --no-build-isolation -e ".[bench]"
	$(BIN)/python -m benchmarks run

fuzz: $(VENV)/.ready
	$(BIN)/python -m tests.fuzz --seed $(SEED) --count $(COUNT)
	-$(BIN)/pip -q install --only-binary :all: atheris
	$(BIN)/python -m tests.fuzz.guided -runs=$$(( $(COUNT) * 10 )) -seed=$(SEED)

sanitize: $(VENV)/.ready
	$(BIN)/python -m tests.fuzz.sanitized --seed $(SEED) --count $(COUNT)

attacks: $(VENV)/.ready
	DOCDB_ATTACKS=all $(PYTEST) $(SIDE_BY_SIDE) tests/rules/attacks

crash: $(VENV)/.ready
	$(BIN)/python -m tests.faults.crash --seed $(SEED) --cycles $(CYCLES)

images: $(VENV)/.ready
	$(BIN)/python -m tests.faults.images --seed $(SEED) --count $(COUNT) --processes 2

isolation: $(VENV)/.ready
	$(BIN)/python -m tests.isolation --seed $(SEED) --transactions 100000 --processes 4 --kills 400 --interrupts 4000

soak: $(VENV)/.ready
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --seed $(SEED)

$(VENV)/.ready: pyproject.toml setup.py $(wildcard docdb/_native/*.pyx) $(wildcard docdb/_native/*.pxd)
	@echo "setting up $(VENV): packages, then the kernels, which take the C compiler a minute or two"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip -q install --disable-pip-version-check "setuptools>=77" wheel "cython>=3.0.10"
	$(BIN)/pip -q install --disable-pip-version-check --no-build-isolation -e ".[cli,test]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
	find docdb -name '*.so' -o -name '*.c' -path '*_native*' | xargs -r rm
