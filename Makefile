# Two commands from a fresh clone: `make quickstart` and `make test`. Needs Python >= 3.11 and make, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
JOBS ?= 2
LONG := slow or ray or server
PYTEST := $(BIN)/python -m pytest -q -n $(JOBS)

.PHONY: help setup quickstart check test torture lint docs lock clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## Make .venv and install everything into it, pinned

quickstart: setup ## Run a whole small study on generated data, then say where to look
	$(BIN)/distune launch quickstart --replace
	@echo "Compare the trials in the MLflow UI:  $(BIN)/distune ui quickstart"

check: lint ## Check format, lint and types, and run the fast tests
	$(PYTEST) -m "not ($(LONG) or torture)"

test: check ## Everything that CI runs
	$(PYTEST) -m "($(LONG)) and not torture"

torture: setup ## What make test leaves out: faults at every operation, thousands of damaged files, all variants: hours
	$(PYTEST) -m torture

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pydoclint --quiet platform/distune
	$(BIN)/mypy

docs: setup ## Build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lock: $(BIN)/uv ## Write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --upgrade --quiet --output-file requirements.lock

clean: ## Remove .venv and all caches, but no study
	rm -rf $(VENV) site .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "distune needs Python 3.11 or newer; say which with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

# Bytecode is compiled while installing: without it every worker that imports torch starts three times slower.
$(STAMP): pyproject.toml requirements.lock | $(BIN)/uv
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --compile-bytecode --requirement requirements.lock
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --no-deps --editable .
	@touch $(STAMP)
