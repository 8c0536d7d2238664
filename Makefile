# The commands that CONTRIBUTING, `.ci/run` and the public CI share. Each takes the active
# environment, or `.venv` where none is active; `make lint PYTHON=...` takes another interpreter.
PYTHON ?= $(if $(VIRTUAL_ENV),python,$(if $(wildcard .venv/bin/python),.venv/bin/python,python))
SMOKES = step_time information breakdown peers scaling seeds start_up main_job faults

.DEFAULT_GOAL := help
.PHONY: help lint format test test-slow docs smoke

help: ## Lists the commands.
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+): .*## /make \1	/' | expand -t 20

lint: ## Checks style, format and types; changes nothing.
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format: ## Formats all files, and mends what ruff can mend.
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

test: ## Runs the default tests, on all cores.
	$(PYTHON) -m pytest -n auto

test-slow: ## Runs the tests that are marked slow.
	$(PYTHON) -m pytest -n auto -m slow --dist worksteal

docs: ## Builds the documentation; a warning is an error.
	$(PYTHON) -m sphinx -W --keep-going -q -b html docs docs/_build/html

smoke: ## Runs each benchmark for some seconds.
	set -e; for name in $(SMOKES); do $(PYTHON) -m benchmarks.$$name --smoke; done
