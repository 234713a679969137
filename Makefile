# Every target sets up .venv by itself; nothing else is needed than Python >= 3.11 and make.
.PHONY: demo test check wheels clean
.DEFAULT_GOAL := test

PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell \
	$(p) -c 'import sys, ensurepip; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))
BIN := .venv/bin
READY := .venv/ready

$(READY): requirements-dev.txt constraints.txt pyproject.toml $(wildcard libws_plugins/*/pyproject.toml)
	@test -n "$(PYTHON)" || { echo "libws needs Python 3.11 or newer with venv; say which: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt hatchling editables
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --no-build-isolation -r requirements-dev.txt
	touch $@

demo: $(READY)
	@$(BIN)/libws demo

test: $(READY)
	$(BIN)/python -m pytest $(PYTEST)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy libws_core $(wildcard libws_plugins/*/src)

clean:
	rm -rf .venv dist build .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
