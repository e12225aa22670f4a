# `make demo` and `make test` need nothing but Python 3.10 or newer: they make .venv and install into it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL_OPTIONS ?=
# The original FastReID in an environment of its own, with the packages of $(VENV) below.
FASTREID_VENV ?= .venv-fastreid

.PHONY: demo test test-fastreid lint docs clean

demo: $(VENV)/installed
	$(BIN)/python tools/train_net.py --config-file projects/msinet/configs/quickstart.yml

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n 2

test-fastreid: $(FASTREID_VENV)/installed
	FASTREID_REQUIRED=1 $(FASTREID_VENV)/bin/python -m pytest tests/from_fastreid/original -n 2
	$(FASTREID_VENV)/bin/python tests/from_fastreid/original/config_table.py --check docs/from_fastreid.md

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy fastreid_ext tools

# Into build/site; the reference of config keys is made anew before. Links and anchors are checked.
docs: $(VENV)/installed-dev
	$(BIN)/python docs/site/configuration_page.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(INSTALL_OPTIONS) -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet $(INSTALL_OPTIONS) -e '.[dev]'
	touch $@

# `addsitedir`, unlike a path, also reads the .pth file of the editable install.
$(FASTREID_VENV)/installed: $(VENV)/installed-dev
	$(BIN)/python -m venv $(FASTREID_VENV)
	site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	own=$$($(FASTREID_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') && \
	echo "import site; site.addsitedir('$$site')" > "$$own/shared.pth"
	$(FASTREID_VENV)/bin/python -m pip install --quiet $(INSTALL_OPTIONS) --no-deps fastreid==1.4.0 termcolor
	touch $@

clean:
	rm -rf $(VENV) $(FASTREID_VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
