# Two commands do all the set-up: `make run` and `make test`.
SHELL := /bin/bash
.DELETE_ON_ERROR:
PYTHON ?= python3
PORT ?= 8000
export SOUVERAIN_HOME ?= $(CURDIR)/var
export PATH := $(CURDIR)/build/node/bin:$(PATH)
BIN := .venv/bin

.PHONY: run install test ci prove bench lint clean debian-packages

run: install
	@$(BIN)/souverain init
	@$(BIN)/souverain serve --port $(PORT)

install: build/.installed build/.web

build/.installed: requirements.txt pyproject.toml
	@mkdir -p build
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements-build.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

build/.installed-dev: build/.installed requirements-dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements-dev.txt
	@touch $@

build/.web: $(shell find web/src -type f) web/package-lock.json web/vite.config.ts build/.installed
	@./web/with-node npm --prefix web ci --no-audit --no-fund --silent
	@./web/with-node npm --prefix web run build --silent
	@touch $@

debian-packages:
	@./tests/debian-packages

lint: build/.installed-dev build/.web
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	DJANGO_SETTINGS_MODULE=souverain.config.settings SOUVERAIN_HOME=$(CURDIR)/build/mypy-home $(BIN)/mypy src/souverain/*/services.py src/souverain/*/engine

test: debian-packages install build/.installed-dev lint
	$(BIN)/python -m pytest
	./tests/with-postgresql $(BIN)/python -m pytest -m db_both

prove: debian-packages install build/.installed-dev
	SOUVERAIN_PROVE=1 $(BIN)/python -m pytest -o faulthandler_timeout=7200

bench: install build/.installed-dev
	$(BIN)/python benchmarks/core.py

clean:
	rm -rf build .venv web/node_modules .pytest_cache .mypy_cache .ruff_cache
