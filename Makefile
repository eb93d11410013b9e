# Set-up and the commands of the README. Needs Python 3.11 to 3.13 and make; all else is made in .venv.

ifneq ($(words $(CURDIR)),1)
$(error $(CURDIR): has a blank in its name, with which Snakemake can run nothing; move the checkout to a folder without)
endif

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STUDY ?= studies/pocket.yaml
CORES ?= all
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --retries 7
RUN_TIME := .venv/run-time.stamp
GPU := .venv/gpu.stamp
SLURM := .venv/slurm.stamp
SLURM_DAEMONS := slurm-wlm munge slurmdbd mariadb-server-core
NFS_MACHINE := user-mode-linux iproute2
S3 := .venv/s3.stamp
DEVELOPMENT := .venv/development.stamp
TESTS := pytest --numprocesses 2 --dist loadgroup --no-loadscope-reorder
SOURCES := workflow_scripts tests benchmarks envs
RULES := Snakefile rules/*.smk

export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help study s3 gpu gpu-checks slurm slurm-daemons nfs-machine test test-all fetch lint architectures lock clean

help:
	@echo "make study     set up .venv, then run the study (STUDY=$(STUDY), CORES=$(CORES))"
	@echo "make gpu       set up .venv with the CUDA build of torch, for studies with measure.device: cuda"
	@echo "make s3        add what MAXACT_REMOTE=s3://... needs to .venv"
	@echo "make gpu-checks  the checks that need a GPU"
	@echo "make slurm     add Snakemake's executor for SLURM to .venv"
	@echo "make slurm-daemons  install SLURM for its tests, as root where there is apt; part of make test"
	@echo "make nfs-machine  install a Linux with NFS for the store's tests, in the same way; part of make test-all"
	@echo "make test      set up .venv, then static checks and the fast tests"
	@echo "make test-all  the same with the slow tests"
	@echo "make lint      static checks alone"
	@echo "make architectures  write docs/architectures.md: what can be measured of each architecture of transformers"
	@echo "make lock      resolve envs/*.in into the locked requirements (needs uv)"
	@echo "make clean     remove .venv, .venv-* and caches; artifacts and reports stay"

study: $(RUN_TIME)
	@snakemake --cores $(CORES) --configfile $(STUDY)

s3: $(S3)

gpu: $(GPU)

gpu-checks: $(GPU) fetch
	@pytest -m gpu -rs

slurm: $(SLURM)

# Best effort: without them the tests that need them are skipped, and say why.
slurm-daemons:
	@$(call install,slurmctld munged slurmdbd mariadbd,$(SLURM_DAEMONS))

nfs-machine:
	@$(call install,linux.uml ip,$(NFS_MACHINE))

# Programs, and Debian's packages that have them.
define install
PATH="$$PATH:/usr/sbin"; (for program in $(1); do command -v $$program || exit 1; done) >/dev/null || { \
    test "$$(id -u)" = 0 && command -v apt-get >/dev/null && echo "installing $(2) for the tests" && { \
        apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(2); \
    } >/dev/null 2>&1; } || echo "not all of $(2) can be installed here: tests that need it are skipped"
endef

test: lint fetch slurm-daemons
	@$(TESTS) -m "not slow"

test-all: lint fetch slurm-daemons nfs-machine
	@$(TESTS)

# Tests run offline, but for a slow one that installs envs/ling.txt; the wheels that they read are fetched before.
fetch: $(DEVELOPMENT)
	@maxact fetch studies/pocket.yaml

lint: $(DEVELOPMENT)
	@ruff check $(SOURCES)
	@ruff format --check --quiet $(SOURCES)
	@mypy
	@snakefmt --check $(RULES)
	@snakemake --lint --configfile studies/pocket.yaml

# A .venv without a working pip is what an interrupted set-up leaves: it is made anew.
$(RUN_TIME): envs/cpu.txt envs/torch.txt pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	    python="$(PYTHON)"; \
	    test -n "$$python" && $$python -c '$(SUPPORTED)' 2>/dev/null || { \
	        echo "error: $${python:-python3} is not Python 3.11 to 3.13; install one, or say make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; \
	        exit 1; }; \
	    echo "setting up .venv with $$python"; \
	    $$python -m venv --clear .venv; }
	@echo "installing what envs/cpu.txt and envs/torch.txt lock"
	@$(PIP) --no-deps --require-hashes --requirement envs/cpu.txt
	@$(PIP) --requirement envs/torch.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# `===` takes the build whose version has no local tag, which is the CUDA build on PyPI, where `==` may take a CPU build.
$(GPU): envs/gpu.txt $(RUN_TIME)
	@echo "installing what envs/gpu.txt locks, and the CUDA build of torch"
	@$(PIP) --no-deps --require-hashes --requirement envs/gpu.txt
	@$(PIP) --no-deps "$$(sed -n 's/^torch==/torch===/p' envs/torch.txt)"
	@$(BIN)/python -c 'import torch; torch.version.cuda or exit(f"error: torch {torch.__version__} is built without CUDA; install the CUDA build of that version into .venv from where you get it")'
	@touch $@

$(S3): envs/s3.txt $(RUN_TIME)
	@echo "installing what envs/s3.txt locks"
	@$(PIP) --no-deps --require-hashes --requirement envs/s3.txt
	@touch $@

$(SLURM): envs/slurm.txt $(RUN_TIME)
	@echo "installing what envs/slurm.txt locks"
	@$(PIP) --no-deps --require-hashes --requirement envs/slurm.txt
	@touch $@

# The executor for SLURM lies in a folder of its own: each Snakemake that finds it imports it, and pandas with it.
$(DEVELOPMENT): envs/dev.txt envs/torchao.txt envs/slurm.txt $(RUN_TIME)
	@echo "installing what envs/dev.txt, envs/torchao.txt and envs/slurm.txt lock"
	@$(PIP) --no-deps --require-hashes --requirement envs/dev.txt
	@$(PIP) --no-deps --require-hashes --upgrade --target .venv/torchao --requirement envs/torchao.txt
	@$(PIP) --no-deps --require-hashes --upgrade --target .venv/slurm --requirement envs/slurm.txt
	@touch $@

architectures: $(DEVELOPMENT)
	@PYTHONPATH=tests python -m sites.outcomes

lock:
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate --excludes envs/torch.txt envs/cpu.in --output-file envs/cpu.txt
	cp envs/cpu.txt envs/ling.txt # pins that fit are kept
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate --excludes envs/torch.txt envs/ling.in --output-file envs/ling.txt
	cd envs && uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate s3.in --output-file s3.txt
	cd envs && uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate --excludes torch.txt dev.in --output-file dev.txt
	uv pip compile --quiet --universal --generate-hashes --no-deps --python-version 3.11 --no-header --no-annotate envs/torchao.in --output-file envs/torchao.txt
	uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate envs/gpu.in --output-file envs/gpu.txt
	cd envs && uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header --no-annotate --excludes torch.txt --excludes cpu.txt slurm.in --output-file slurm.txt
	python3 envs/make_environments.py

clean:
	rm -rf .venv .venv-* .pytest_cache .ruff_cache .mypy_cache workflow_scripts/maxact.egg-info
