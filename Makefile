# Everything runs in .venv; a target sets up what it needs itself, from the lock file.
SHELL := /bin/bash
BIN := .venv/bin
SMOKE := .venv-smoke
PYTHON ?=
ROWS ?= 500000
PORT ?= 3000
SIMULATOR_PORT ?= 8900

export DAGSTER_HOME ?= $(CURDIR)/.dagster_home
export DAGSTER_DISABLE_TELEMETRY := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test cover check smoke dev bench bench-backfill docs lock clean

setup: .venv/.ready .dagster_home/dagster.yaml

.venv/.ready: requirements.lock pyproject.toml
	@test -x $(BIN)/python || { python="$$(PYTHON='$(PYTHON)' ./deploy/python)" && \
	  echo "Setting up .venv with $$python (about a minute, once)" && "$$python" -m venv .venv; }
	@$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.dagster_home/dagster.yaml: deploy/dagster.yaml
	@mkdir -p .dagster_home && cp $< $@

demo: setup ## the whole loop on the sample reviews, against the simulator
	@$(BIN)/python -m examples.demo

test: setup
	@$(BIN)/python -m pytest -n 2

cover: setup ## the same with branch coverage, which doubles the time
	@$(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q --no-header batch_pipeline_tests/test_architecture.py

smoke: setup ## the tests of the core with another Python, in .venv-smoke
	@python="$$(PYTHON='$(PYTHON)' ./deploy/python other)" && \
	  echo "Setting up $(SMOKE) with $$python" && "$$python" -m venv --clear $(SMOKE)
	@$(SMOKE)/bin/pip install --quiet --require-hashes -r requirements.lock
	@$(SMOKE)/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	@$(SMOKE)/bin/python -m pytest -n 2 -q --no-header -p no:cacheprovider \
	  $(addprefix batch_pipeline_tests/,policy prices stages store)

dev: setup ## simulator and Dagster UI with its daemon
	@$(BIN)/python -m examples.dev --port $(PORT) --simulator-port $(SIMULATOR_PORT)

bench: setup
	@$(BIN)/python -m benchmarks --rows $(ROWS)

bench-backfill: setup ## runs and work of a backfill, and ticks of the watch
	@$(BIN)/python -m benchmarks --only backfill tick --before none

docs: setup ## docs/providers and docs/result_columns.md, from the tables in the code
	@$(BIN)/python -m batch_pipeline.providers.documented docs/providers
	@$(BIN)/python -m batch_pipeline.stages.documented docs/result_columns.md

lock: .venv/.ready
	@$(BIN)/uv pip compile pyproject.toml --extra dev --extra simulator --generate-hashes --universal \
	  --python-version 3.11 --no-strip-extras --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" --quiet --output-file requirements.lock

clean: ## the store and Dagster's history stay: they hold paid answers
	@rm -rf .venv .venv-smoke .mypy_cache .ruff_cache .pytest_cache data/bench
