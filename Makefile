# Targets for developers. `make` alone lists them; only Python 3.11 or newer and make are needed.

PYTHON ?= python3
VENV   ?= .venv
FLINK_VENV ?= .venv-flink
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS   ?=
N      ?= 1000

.DEFAULT_GOAL := help
.PHONY: help demo test servers flink conformance lint format bench crash-test repeat-test campaign crash soak fuzz docs constraints clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

demo: $(VENV)/.runtime $(if $(findstring --wikimedia,$(ARGS)),$(VENV)/.lake) ## start the demo platform (ARGS=--once: run it briefly and print a summary; ARGS=--wikimedia: edit an invented wiki)
	@$(BIN)/headwater demo $(ARGS)

test: $(VENV)/.dev ## run every test and list skipped ones with the reason (make test ARGS="-k sse")
	@$(BIN)/python -m pytest $(ARGS)

servers: $(VENV)/.dev ## start a Kafka for the tests in the background (make servers ARGS=stop; see ARGS=--help)
	@$(BIN)/python tests/servers $(if $(ARGS),$(ARGS),start kafka)

flink: $(FLINK_VENV)/.ready ## build .venv-flink, the environment of jobs on Flink (1.1 GB; Python 3.11 or 3.12)

conformance: $(VENV)/.dev $(FLINK_VENV)/.ready ## run every job of the tests on Flink in each mode and parallelism
	@HEADWATER_CONFORMANCE=full HEADWATER_REQUIRE=flink,kafka $(BIN)/python -m pytest tests/flink/test_conformance.py $(ARGS)

lint: $(VENV)/.dev ## run ruff, its formatter, mypy --strict and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## format the code with ruff
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: $(VENV)/.runtime ## measure intake, log, fan-out and idling (see docs/reference/performance.md)
	@$(BIN)/python benchmarks/run.py $(ARGS)

crash-test: $(VENV)/.runtime ## kill a writing process N times (default 1000) and compare acknowledged with stored events
	@$(BIN)/python -m headwater.testing.campaign.crash --kills $(N)

repeat-test: $(VENV)/.runtime ## kill an intake N times (default 1000) while clients retry, and search for duplicates
	@$(BIN)/python -m headwater.testing.campaign.repeats --kills $(N)

campaign: $(VENV)/.runtime ## kill a whole platform while clients retry, and compare all results (make campaign ARGS="--kills 60")
	@$(BIN)/python -m headwater.testing.campaign $(ARGS)

crash: $(VENV)/.runtime ## kill platforms with jobs of every kind, and compare everything (make crash ARGS="--rounds 1000 --seed 7")
	@$(BIN)/python -m headwater.testing.job_campaign $(ARGS)

soak: $(VENV)/.runtime ## run a platform at half load while clients come and go, and check for growth (make soak ARGS="--minutes 30")
	@$(BIN)/python -m headwater.testing.soak $(ARGS)

fuzz: $(VENV)/.runtime ## run mutated inputs against everything that accepts bytes from outside (make fuzz ARGS="--cases 10000000")
	@$(BIN)/python -m headwater.testing.fuzzing $(if $(ARGS),$(ARGS),--seconds 30 --at-once 2)

docs: $(VENV)/.dev ## write the generated reference pages, then check every link and code block
	$(BIN)/python docs/generate.py
	@$(BIN)/python -m pytest -q tests/docs $(ARGS)

constraints: ## resolve the dependencies again (needs uv) into the constraints*.txt
	@command -v uv >/dev/null || { echo "make constraints needs uv: install it, e.g. with pipx install uv"; exit 1; }
	uv pip compile --upgrade $(UV_FORM) --extra local --group build --output-file constraints.txt pyproject.toml
	uv pip compile --upgrade $(UV_FORM) --extra all --group build --constraints constraints.txt --output-file constraints-connectors.txt pyproject.toml
	uv pip compile --upgrade $(UV_FORM) --extra all --group build --group dev --constraints constraints-connectors.txt --output-file constraints-dev.txt pyproject.toml
	uv pip compile --upgrade $(UV_FORM) --extra flink --extra sql --extra wikimedia --group flink-build --constraints constraints.txt --output-file constraints-flink.txt pyproject.toml

clean: ## remove the environment, caches and the demo's files
	rm -rf $(VENV) $(FLINK_VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

# No file contains the address of an index: pip's own configuration decides.
UV_FORM := --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Headwater needs Python 3.11 or newer. Choose one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python could not create a virtual environment; on Debian: apt install python3-venv"; exit 1; }

# Install every package from the pinned, hashed list; then the project itself, from this folder, without dependencies.
$(VENV)/.runtime: constraints.txt pyproject.toml | $(BIN)/python
	@echo "Installing Headwater into $(VENV) (once; half a minute) ..."
	@$(PIP) install --require-hashes --only-binary :all: --no-deps -r constraints.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# The lake of `make demo ARGS=--wikimedia` has Parquet files, which need one package more.
$(VENV)/.lake: constraints-connectors.txt $(VENV)/.runtime
	@sed -n '/^pyarrow==/,/[^\\]$$/p' constraints-connectors.txt > $(VENV)/lake.txt
	@$(PIP) install --require-hashes --only-binary :all: --no-deps -r $(VENV)/lake.txt
	@touch $@

$(VENV)/.dev: constraints-dev.txt $(VENV)/.runtime
	@echo "Installing the development tools into $(VENV) (once) ..."
	@$(PIP) install --require-hashes --only-binary :all: --no-deps -r constraints-dev.txt
	@touch $@

# Flink needs other versions than the rest, so it has an environment of its own. Four of the packages that it needs exist as
# source only; the pinned setuptools builds them, and no compiler is needed.
FLINK_PIP     := nice $(FLINK_VENV)/bin/python -m pip --disable-pip-version-check --quiet
FLINK_SOURCES := crcmod,dill,docopt,hdfs

$(FLINK_VENV)/.ready: constraints-flink.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null || \
	  { echo "Flink needs Python 3.11 or 3.12. Choose one: make flink PYTHON=python3.12"; exit 1; }
	@echo "Installing Flink into $(FLINK_VENV) (once; about a minute, 1.1 GB) ..."
	@$(PYTHON) -m venv $(FLINK_VENV)
	@sed -n '/^setuptools==/,/[^\\]$$/p' constraints-flink.txt > $(FLINK_VENV)/build.txt
	@$(FLINK_PIP) install --require-hashes --only-binary :all: -r $(FLINK_VENV)/build.txt
	@$(FLINK_PIP) install --require-hashes --no-build-isolation --only-binary :all: --no-binary $(FLINK_SOURCES) --no-deps -r constraints-flink.txt
	@$(FLINK_PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
