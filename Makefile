# `make app` and `make test` set up what they need in $(VENV); nothing has to be activated. CONTRIBUTING.md has the rest.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13; do $$python -c "" 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
PIP := $(BIN)/python -m pip install --quiet -c constraints.txt

.PHONY: app test check lint setup setup-dev requirements model-code

app: $(VENV)/app.done
	$(BIN)/python app.py

test: $(VENV)/dev.done
	sh tests/system-packages.sh
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

# Lint, types and the fast tests.
check: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q -m "not slow and not browser" $(PYTEST_ARGS)

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

setup: $(VENV)/app.done
setup-dev: $(VENV)/dev.done

# requirements.txt and requirements-dev.txt, from pyproject.toml.
requirements: $(BIN)/python
	$(BIN)/python -m scripts.requirements

# The copies of imgcap/model/*.py beside the checkpoints in models/.
model-code: $(VENV)/dev.done
	$(BIN)/python -m scripts.model_code

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "imgcap needs Python 3.11, 3.12 or 3.13. Install one, or name it: make app PYTHON=/path/to/python3" >&2; exit 1; }
	@PYTHON="$(PYTHON)" sh scripts/venv-package.sh
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/app.done: requirements.txt constraints.txt | $(BIN)/python
	$(PIP) -e ".[alt-text,dataset]"
	touch $@

$(VENV)/dev.done: requirements.txt requirements-dev.txt constraints.txt | $(BIN)/python
	$(PIP) -e ".[train,alt-text,dataset]" --group dev
	touch $@ $(VENV)/app.done
