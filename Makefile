# Everything a newcomer types. Each target sets up what it needs.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Errors only: what pip warns of on a machine is seldom about us.
PIP = PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip --quiet --quiet

# Stamps: empty files that say which requirements the environment holds.
RUNTIME = $(VENV)/.runtime
TOOLS = $(VENV)/.tools

# Twice as many as there are cores: many tests wait, for disks and for what they started.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) \* 2)

# Options passed on: make test ARGS="-k store -x"; one after the other: ARGS="-n 0"
ARGS ?=

# Of the tests in which processes and servers fail: another seed, other faults.
SEED ?= 0
ROUNDS ?= 1

.DEFAULT_GOAL := help
.PHONY: help venv demo picture test faults coverage lint format types check pins clean

help: ## List what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## (.*)/\1|\2/' \
		| while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

venv: $(TOOLS) ## Set up .venv with all that the program, its tests and its tools need

demo: $(RUNTIME) ## Watch sample workflows travel from a local queue to lineage
	@$(BIN)/flytelineage demo $(ARGS)

picture: $(RUNTIME) ## Draw docs/lineage.svg anew, from the demo's data
	@$(BIN)/flytelineage demo --folder=build/demo
	@cp build/demo/lineage.svg docs/lineage.svg

test: $(TOOLS) ## Run all tests, on SQLite and on a PostgreSQL of their own
	@$(BIN)/python -m pytest -q --numprocesses $(WORKERS) --dist worksteal $(ARGS)

faults: $(TOOLS) ## Let processes and servers fail: make faults SEED=7 ROUNDS=3
	@$(BIN)/python -m pytest -q --numprocesses auto --dist worksteal --faults \
		--fault-seed=$(SEED) --fault-rounds=$(ROUNDS) \
		tests/end_to_end tests/test_constructs.py tests/test_explain.py \
		tests/targets/test_datahub_lite.py $(ARGS)

coverage: $(TOOLS) ## Run all tests and say which lines they miss
	@$(BIN)/python -m pytest -q --cov --cov-report=term-missing:skip-covered $(ARGS)

lint: $(TOOLS) ## Check style and spelling
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell

types: $(TOOLS) ## Check types
	@$(BIN)/mypy --strict flytelineage

check: lint types test ## All of the above, as the continuous integration does

format: $(TOOLS) ## Format the code and repair what can be repaired
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

pins: ## Renew the pins from setup.py; needs uv
	@.ci/pins

clean: ## Remove what was built, measured and cached; .venv stays
	@rm -rf build dist *.egg-info .coverage htmlcov
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis flytelineage-demo
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
		"Python 3.10 or newer is needed, e.g.: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@$(PYTHON) -m venv $(VENV)

# The entry points come from an editable installation, so it follows setup.py.
$(RUNTIME): requirements.txt setup.py | $(VENV)/bin/python
	@echo "Installing what flytelineage needs into $(VENV); this takes a minute or two"
	@$(PIP) install -r requirements.txt
	@$(PIP) install --no-deps --editable .
	@touch $@

$(TOOLS): requirements-dev.txt $(RUNTIME)
	@echo "Installing the tests' and tools' requirements into $(VENV)"
	@$(PIP) install -r requirements-dev.txt
	@touch $@
