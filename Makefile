# The two commands of the README, and what they need. Each sets itself up; nothing has to be activated.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: app test lint setup setup-dev

app: .venv/app.done
	$(BIN)/python app.py

test: .venv/dev.done
	sh tests/system-packages.sh
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: .venv/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: .venv/app.done
setup-dev: .venv/dev.done

.venv/bin/python:
	command -v $(PYTHON) >/dev/null || { echo "imgcap needs Python 3.11; install it, or name one: make app PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -c "import ensurepip" 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3.11-venv; } || \
		{ echo "This Python cannot make virtual environments; install them: apt-get install python3.11-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

.venv/app.done: requirements.txt constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -r requirements.txt -c constraints.txt
	touch $@

.venv/dev.done: requirements.txt requirements-dev.txt constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt -c constraints.txt
	touch $@ .venv/app.done
