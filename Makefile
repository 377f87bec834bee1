# Everything from a fresh clone: `make reproduce` (environment, then the laptop study end to end) and `make test`.
# The environment is made once, in .venv; it is made again when requirements.txt changes.

PYTHON ?= python3
PY := .venv/bin/python
STUDY ?= digits_mlp
CLUSTER ?= local
export STUDY_DATA ?= $(if $(wildcard ../shared/data/unpack),.data,)

.DEFAULT_GOAL := help
.PHONY: help reproduce plan report paper verify reference test test-quick test-slurm check bench-curvature bench-training bench-measuring bench-statistics bench-coverage bench-gpu data clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

.venv/ready: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 2; }
	@echo "making the environment in .venv (once, some minutes)"
	@$(PYTHON) -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

reproduce: .venv/ready  ## train, measure and report the laptop study (STUDY=..., CLUSTER=...)
	@$(PY) -m slurm submit configs/$(STUDY).yaml --cluster $(CLUSTER)
	@$(PY) -m study records configs/$(STUDY).yaml
	@$(PY) -m study slice configs/$(STUDY).yaml
	@$(PY) -m analysis report $(STUDY)

plan: .venv/ready  ## what STUDY would run, and how long it would take
	@$(PY) -m study plan configs/$(STUDY).yaml

report: .venv/ready  ## table, figures and page of STUDY from its fresh records
	@$(PY) -m analysis report $(STUDY)

paper: .venv/ready  ## every table and figure from the committed records, and the PDF
	@$(PY) -m analysis paper

verify: .venv/ready  ## published numbers beside ours, from the committed records alone
	@$(PY) -m analysis verify

reference: .venv/ready  ## the generated tables of configs/, study/measures/ and analysis/README.md
	@$(PY) -m study reference
	@$(PY) -m analysis reference

bench-training: .venv/ready  ## shards of every kind beside plain PyTorch that trains one network after another
	@$(PY) -m tests.benchmarks.training $(if $(ONLY),--only "$(ONLY)")

bench-measuring: .venv/ready  ## seconds a stop of each measure of LeNet5 (STUDY=..., AGAINST=checkout: beside another commit, in turn)
	@$(PY) -m tests.benchmarks.measuring $(if $(filter command%,$(origin STUDY)),--study $(STUDY)) $(if $(AGAINST),--against $(AGAINST))

bench-statistics: .venv/ready  ## every statistic of a ledger of 10,000 rows and 40 measures, with its time
	@$(PY) -m tests.benchmarks.statistics_scale

bench-coverage: .venv/ready  ## how often intervals hold the truth, on the designs of the published studies
	@$(PY) -m tests.benchmarks.coverage

bench-gpu:  ## what needs a GPU, in eight minutes, with PYTHON's own torch (also torchvision, numpy, scipy, PyYAML, pytest)
	@$(PYTHON) -m tests.benchmarks.gpu

data: .venv/ready  ## a torchvision root with real images in .data, where the archives are at hand
	@if [ -x ../shared/data/unpack ]; then ../shared/data/unpack .data; else echo "no archives here: torchvision downloads what it needs into .data"; fi

test: .venv/ready  ## all tests that this machine can run
	@if [ -x ../shared/data/unpack ] && [ "$(STUDY_DATA)" = .data ]; then ../shared/data/unpack .data >/dev/null; fi
	@STUDY_DATA=$(abspath $(STUDY_DATA)) $(PY) -m pytest -m "not slurm and not gpu" -n auto --dist loadfile --no-loadscope-reorder $(TESTS)

test-quick: .venv/ready  ## the tests that take seconds
	@$(PY) -m pytest -m "not slow and not slurm and not gpu" $(TESTS)

test-slurm: .venv/ready  ## start a real SLURM on this machine, run its tests, stop it
	@slurm/testbed/run-tests

check: .venv/ready  ## lint, format and types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

bench-curvature: .venv/ready  ## the curvature pass beside its peers
	@$(PY) -m tests.benchmarks.curvature

clean:  ## remove the environment and the caches; runs/ and results/ stay
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
