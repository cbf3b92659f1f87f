# What a person types here. `make` alone lists the targets; only Python 3.11 or newer and make are needed.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS   ?=
N      ?= 1000

.DEFAULT_GOAL := help
.PHONY: help demo test servers lint format bench crash-test repeat-test campaign soak fuzz docs constraints clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

demo: $(VENV)/.runtime ## start the demo platform (make demo ARGS=--once: run it briefly, print a summary and end)
	@$(BIN)/headwater demo $(ARGS)

test: $(VENV)/.dev ## run every test; what is skipped is named with its reason (make test ARGS="-k sse")
	@$(BIN)/python -m pytest $(ARGS)

servers: $(VENV)/.dev ## start a Kafka for the tests in the background (make servers ARGS=stop; see ARGS=--help)
	@$(BIN)/python tests/servers $(if $(ARGS),$(ARGS),start kafka)

lint: $(VENV)/.dev ## ruff, its formatter, mypy --strict and the floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## let ruff put the code in form
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: $(VENV)/.runtime ## measure intake, log, fan-out and idling (see docs/reference/performance.md)
	@$(BIN)/python benchmarks/run.py $(ARGS)

crash-test: $(VENV)/.runtime ## kill a writing process N times (default 1000) and compare what was promised with what is kept
	@$(BIN)/python -m headwater.testing.campaign.crash --kills $(N)

repeat-test: $(VENV)/.runtime ## kill an intake N times (default 1000) while clients repeat, and look for events stored twice
	@$(BIN)/python -m headwater.testing.campaign.repeats --kills $(N)

campaign: $(VENV)/.runtime ## kill a whole platform while clients repeat, and compare everything (make campaign ARGS="--kills 60")
	@$(BIN)/python -m headwater.testing.campaign $(ARGS)

soak: $(VENV)/.runtime ## load a whole platform by half while clients come and go, and see what grows (make soak ARGS="--minutes 30")
	@$(BIN)/python -m headwater.testing.soak $(ARGS)

fuzz: $(VENV)/.runtime ## try changed inputs on everything that takes bytes from outside (make fuzz ARGS="--cases 10000000")
	@$(BIN)/python -m headwater.testing.fuzzing $(if $(ARGS),$(ARGS),--seconds 30 --at-once 2)

docs: $(VENV)/.dev ## write the generated reference pages, then check every link and code block
	$(BIN)/python docs/generate.py
	@$(BIN)/python -m pytest -q tests/docs $(ARGS)

constraints: ## resolve the dependencies anew (needs uv) into constraints.txt and constraints-dev.txt
	@command -v uv >/dev/null || { echo "make constraints needs uv: install it, e.g. with pipx install uv"; exit 1; }
	uv pip compile --upgrade $(UV_FORM) --extra all --group build --output-file constraints.txt pyproject.toml
	uv pip compile --upgrade $(UV_FORM) --extra all --group build --group dev --constraints constraints.txt --output-file constraints-dev.txt pyproject.toml

clean: ## remove the environment, caches and the demo's files
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

# No address of an index goes into either file: what pip is configured with is what it uses.
UV_FORM := --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Headwater needs Python 3.11 or newer. Name one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python could not make a virtual environment; on Debian: apt install python3-venv"; exit 1; }

# Every package comes from the pinned, hashed list; then the project itself, from this folder, with nothing resolved.
$(VENV)/.runtime: constraints.txt pyproject.toml | $(BIN)/python
	@echo "Installing Headwater into $(VENV) (once; half a minute) ..."
	@$(PIP) install --require-hashes --only-binary :all: -r constraints.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: constraints-dev.txt $(VENV)/.runtime
	@echo "Installing the development tools into $(VENV) (once) ..."
	@$(PIP) install --require-hashes --only-binary :all: -r constraints-dev.txt
	@touch $@
