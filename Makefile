# Everything a developer does here, by name. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

VENV := .venv
BIN := $(VENV)/bin
# The first Python found that is 3.11 to 3.13 and can make virtual environments; or `make PYTHON=... setup`.
PYTHON = $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& command -v "$$p" && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate
PYTEST := $(BIN)/python -m pytest
ARGS ?=
# Test processes side by side: most tests wait for real servers rather than compute.
JOBS ?= 4

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' \
		| while IFS=$$'\t' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

.PHONY: run
run: setup ## Set up and start everything on this machine (ARGS="--port-base 9000 ..." are handed on)
	@exec $(BIN)/eventsphere up $(ARGS)

.PHONY: test
test: setup-dev lint parts ## Set up, check and pass the tests; parts not on this machine are skipped with a reason
	@$(PYTEST) -m "not long" -n $(JOBS) --dist loadfile $(ARGS)

.PHONY: test-long
test-long: setup-dev parts ## The tests that take minutes: chaos, volume, comparisons
	@$(PYTEST) -m long --timeout 1800 $(ARGS)

.PHONY: lint
lint: setup-dev ## ruff, mypy --strict and the import contracts
	@$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: format
format: setup-dev ## Put the code into the form `make lint` asks for
	@$(BIN)/ruff check --quiet --fix
	$(BIN)/ruff format

.PHONY: bench
bench: setup-dev ## Measure: CPU-seconds a million records, beside a stock Faust agent
	@$(BIN)/python -m tests.bench $(ARGS)

KILLS ?= 100
RECORDS ?= 1000000
.PHONY: chaos
chaos: setup-dev parts ## Kill sources, worker and broker KILLS=100 times while RECORDS=1000000 flow; every one once (SEED=)
	@$(BIN)/python -m tests.chaos --kills $(KILLS) --records $(RECORDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

MAILS ?= 5000
.PHONY: chaos-mail
chaos-mail: setup-dev parts ## Kill workers KILLS=100 times while MAILS=5000 are sent: none missing, one repeat a kill (SEED=)
	@$(BIN)/python -m tests.delivery --kills $(KILLS) --mails $(MAILS) $(if $(SEED),--seed $(SEED)) $(ARGS)

RULE_RECORDS ?= 200000
.PHONY: chaos-rules
chaos-rules: setup-dev parts ## Kill workers KILLS=100 times while records flow through 50 rules; alerts and mails as undisturbed (SEED=)
	@$(BIN)/python -m tests.chaos.rules --kills $(KILLS) --records $(RULE_RECORDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: parts
parts: setup-dev ## Bring what the tests' real parts are made of into the cache (once; what cannot be had is left out)
	@$(BIN)/python -m tests.parts

.PHONY: fluent-bit
fluent-bit: setup-dev ## Build Fluent Bit from SOURCE=checkout into the cache, for the long tests
	@$(BIN)/python -m tests.parts.fluentbit_build $(SOURCE)

.PHONY: fetch
fetch: setup ## Bring everything a later `eventsphere up --offline` needs
	@$(BIN)/eventsphere fetch

.PHONY: docs
docs: setup ## Generate docs/reference and the JSON Schemas from the code
	@$(BIN)/python -m schemas.generate
	$(BIN)/python -m deploy.reference
	$(BIN)/python -m deploy.acls

.PHONY: setup
setup: $(VENV)/.project ## Make .venv with everything `make run` needs; instant when nothing changed

.PHONY: setup-dev
setup-dev: $(VENV)/.dev $(VENV)/.project ## The same with the tools of `make test`

.PHONY: lock
lock: setup-dev ## Pin the newest versions the project accepts, with hashes (ARGS="--upgrade")
	@$(LOCK) $(ARGS) pyproject.toml --group build -o requirements/run.txt
	$(LOCK) $(ARGS) pyproject.toml --group dev -c requirements/run.txt -o requirements/dev.txt

.PHONY: clean
clean: ## Remove .venv and what tools left
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Eventsphere needs Python 3.11, 3.12 or 3.13 with the venv module (Debian: apt install python3-venv)." >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# The lock names every package with its hashes, so nothing is resolved here: --no-deps.
$(VENV)/.run: requirements/run.txt | $(BIN)/python
	@echo "Installing what it runs on (once) ..."
	$(PIP) install --no-deps --require-hashes -r requirements/run.txt
	touch $@

$(VENV)/.dev: requirements/dev.txt | $(VENV)/.run
	@echo "Installing what it is tested with (once) ..."
	$(PIP) install --no-deps --require-hashes -r requirements/dev.txt
	touch $@

$(VENV)/.project: pyproject.toml $(VENV)/.run
	@$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@
