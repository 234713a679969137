# Every target sets up .venv by itself; nothing else is needed than Python >= 3.11 and make.
#   make demo      one client rides out a server's faults
#   make test      every test; make test PYTEST="-k backoff -x"
#   make simulate  10,000 seeds of faults on a virtual clock; make simulate SEEDS=500
#   make chaos     minutes of faults on real sockets, and promises at their full counts
#   make check     style, types, the rules of the house, docs in step with the code (make test runs their blocks)
#   make wheels    builds every distribution into dist/, then runs the demo from them in an empty environment
#   make version   gives each plugin what all distributions share; make version V=0.2.0 sets the version of all
#   make bench     speed beside other clients, into docs/performance.md; roughly: make bench QUICK=1
#   make docs      the documentation site, into site/; or on this machine's port 8000: make docs SERVE=1
#   make clean     takes away what the others made
# Another Python: make test PYTHON=python3.13
.PHONY: demo test simulate chaos check wheels version bench docs clean
.DEFAULT_GOAL := test

PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11 python,$(shell \
	$(p) -c 'import sys, ensurepip; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))
BIN := .venv/bin
READY := .venv/ready
SERVERS := .venv/servers-ready
BENCH := .venv/bench-ready
DOCS := .venv/docs-ready
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard libws_plugins/*/pyproject.toml))
INSTALL := python -m pip install -q --disable-pip-version-check -c constraints.txt
RULES := tests/test_architecture.py tests/test_docs.py tests/test_packaging.py tests/test_site.py

# The build backend and editables come first, so that the constraints hold for what builds the distributions, too.
$(READY): requirements-dev.txt constraints.txt pyproject.toml $(PLUGINS:%=%/pyproject.toml)
	@test -n "$(PYTHON)" || { echo "libws needs Python 3.11 or newer with venv; say which: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/$(INSTALL) hatchling hatch-fancy-pypi-readme editables
	$(BIN)/$(INSTALL) --no-build-isolation -r requirements-dev.txt
	@touch $@

demo: $(READY)
	@$(BIN)/libws demo

# All tests run in several workers, as many as make the most of two cores: they wait more than they compute. Some alone
# run in one. The seeds run when all tests do, and never under coverage, which would make them take minutes.
SOME := $(filter-out --%,$(PYTEST))
test: $(SERVERS) $(if $(SOME),,simulate)
	@$(BIN)/python -m pytest $(if $(SOME),,-n 4) $(PYTEST)

simulate: $(READY)
	@$(BIN)/python tests/simulation --seeds $(or $(SEEDS),10000)

# Not part of `make test`, which plays three short seeds of the chaos.
chaos: $(READY)
	@$(BIN)/python -m pytest -s -m endurance $(PYTEST)

check: $(DOCS) $(SERVERS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy libws_core $(PLUGINS:%=%/src) examples bench docs tools
	$(BIN)/python -m pytest -q -n 4 -m "not install" -k "not block_runs" $(RULES)

# Each wheel is built from its source distribution, so that both are known to be whole.
wheels: $(READY)
	rm -rf dist
	@set -eu; for each in . $(PLUGINS:%=./%); do \
	$(BIN)/python -m build --quiet --no-isolation --outdir dist "$$each"; done
	$(BIN)/twine check --strict dist/*
	set -eu; empty=$$(mktemp -d); trap 'rm -rf "$$empty"' EXIT; \
	$(BIN)/python -m venv "$$empty/venv"; \
	"$$empty/venv/bin/"$(INSTALL) --find-links dist 'libws-core[all]'; \
	cd "$$empty"; venv/bin/libws plugins; venv/bin/libws demo

# Other people's servers, which are tested against.
$(SERVERS): $(READY) tests/servers/requirements.txt
	$(BIN)/$(INSTALL) -r tests/servers/requirements.txt
	@touch $@

version: $(READY)
	@$(BIN)/python tools/in_step.py $(V)

$(BENCH): $(READY) bench/requirements.txt
	$(BIN)/$(INSTALL) -r bench/requirements.txt
	@touch $@

bench: $(BENCH)
	$(BIN)/python -m bench $(if $(QUICK),--quick)

$(DOCS): $(READY) docs/requirements.txt
	$(BIN)/$(INSTALL) -r docs/requirements.txt
	@touch $@

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs $(if $(SERVE),serve,build) --strict

clean:
	rm -rf .venv dist build site .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name node_modules -prune -o -name __pycache__ -type d -exec rm -rf {} +
