# Everything a user runs. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export RAY_USAGE_STATS_ENABLED = 0
export DVC_NO_ANALYTICS = 1

.PHONY: help env demo up test lint types bench lock clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

env: $(STAMP)  ## The environment in .venv/, from locked dependencies

$(STAMP): pyproject.toml infra/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Name another: make PYTHON=python3.11 env"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c infra/constraints.txt -e '.[dev]'
	@touch $@

demo: env  ## One full cycle on the bundled data: data version, training, evaluation, registered champion
	$(BIN)/kp demo

up: env  ## Prefect server, UI and the deployments on this machine
	$(BIN)/kp up

test: env  ## All tests, two files at a time, with one thread each; ARGS="-n 0 tests/flows -k gate" runs some, in this process
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: env  ## Style
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: env  ## Types
	$(BIN)/mypy

bench: env  ## Side-by-side benchmarks, as ratios
	$(BIN)/python -m benchmarks

lock: env  ## Write the installed versions to infra/constraints.txt (after: make clean env with a changed pyproject.toml)
	$(BIN)/python -m pip freeze --exclude-editable > infra/constraints.txt
	@touch $(STAMP)

clean:  ## Remove the environment (data, runs and models stay)
	rm -rf $(VENV) build *.egg-info
