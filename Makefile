# `make demo` and `make test` need nothing but Python 3.10 or newer: they make .venv and install into it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL_OPTIONS ?=

.PHONY: demo test lint clean

demo: $(VENV)/installed
	$(BIN)/python tools/train_net.py --config-file projects/msinet/configs/quickstart.yml

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy fastreid_ext tools

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(INSTALL_OPTIONS) -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet $(INSTALL_OPTIONS) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
