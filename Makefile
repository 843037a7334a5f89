# make demo: the default study, from nothing. make test: the whole test suite.
PYTHON ?= python3
CORES ?= $(shell nproc)
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: help install demo test test-faults test-slurm lint format docs pictures clean

help:
	@echo "make install  make the environment in $(VENV)"
	@echo "make demo     run the default study offline and print its results"
	@echo "make test     run the test suite"
	@echo "make test-faults  kill runs at random moments, 20 times, and what else can happen to a study"
	@echo "make test-slurm  start a Slurm of one node (Debian, root), run a study on it, remove it"
	@echo "make lint     check format, style, types and the workflow"
	@echo "make format   apply the format"
	@echo "make docs     rewrite what is generated from the config models"
	@echo "make pictures copy the demo's figures that README.md shows to docs/images"
	@echo "make clean    remove results/"

install: $(VENV)/installed

# pip rather than uv: pip takes a CPU build of torch where one is offered as a local wheel.
$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "patchshift needs Python 3.11 or newer, $(PYTHON) is older: make PYTHON=python3.11 demo"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv is missing: sudo apt-get install python3-venv"; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install
	@snakemake --cores $(CORES) all > /dev/null  # the table is printed below, also when nothing was to be done
	@cat results/studies/demo/results.txt
	@sed -n 's/.*"images_through_backbones": \([0-9]*\).*/Images passed through a backbone in this run: \1/p' results/studies/demo/summary.json
	@echo "Report: results/studies/demo/report.html"

test: install
	pytest --numprocesses $(CORES) --dist loadfile  # what a file sets up is set up once

# A failed round has its seed in its name: PATCHSHIFT_KILLS_SEED=... repeats it.
test-faults: install
	PATCHSHIFT_KILLS=$${PATCHSHIFT_KILLS:-20} PATCHSHIFT_KILLS_SEED=$${PATCHSHIFT_KILLS_SEED:-$$(date +%s)} pytest --verbose tests/faults

test-slurm: install
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[slurm]'
	tests/slurm/run.sh

lint: install
	ruff format --check .
	ruff check .
	snakefmt --check Snakefile rules
	mypy
	snakemake --lint

format: install
	ruff format .
	ruff check --fix .
	snakefmt Snakefile rules

docs: install
	python -m patchshift.plan.documentation

# tests/test_readme.py compares these with what the demo made last.
pictures: demo
	cp results/studies/demo/experiments/shift_no_adaptation/figures/failure_gallery.png docs/images/demo.png
	cp results/studies/demo/figures/recovery.png docs/images/recovery.png

clean:
	rm -rf results
