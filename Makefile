# Everything starts here: `make help` says what there is. Each target makes the environment first if it is missing or older than what it is made from.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ZOO ?= experiment=toy

.DEFAULT_GOAL := help
.PHONY: help zoo test test-fast lint format bench toy-models clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 20

$(READY): pyproject.toml constraints.txt noisezoo/_version.py
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Making the environment in $(VENV) (a few minutes the first time) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

zoo: $(READY) ## the toy zoo, its study, report and publishable folder, in zoos/toy
	@$(BIN)/noisezoo all $(ZOO)

test: $(READY) ## all tests, the slow ones too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-fast: $(READY) ## the tests that take seconds
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

lint: $(READY) ## ruff (rules and format) and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(READY) ## let ruff put the code in order
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY) ## the benchmarks, results in bench/results
	@$(BIN)/python -m bench

toy-models: $(READY) ## train the toy models again from their seed (hours on two cores; goes on where it stopped)
	@$(BIN)/python -m pipeline.toy.training

clean: ## delete the environment and everything built (zoos stay)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
