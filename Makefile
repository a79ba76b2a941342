# Two commands to know: `make moe` (a tracked run) and `make test`. `make help` lists the rest.
# Without make or bash: `python make.py moe` and `python make.py test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Imports of torch and mlflow take twice as long where byte code is not kept.
unexport PYTHONDONTWRITEBYTECODE

RUN = mlflow run . --env-manager local

.DEFAULT_GOAL := help
.PHONY: help install main moe moe-extended cnn cnn-synthetic rnn seq data tune ui playground test test-slow gpu-check notebooks screenshots lint project clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(INSTALLED)  ## Create .venv with everything (the other targets do so by themselves)

$(INSTALLED): pyproject.toml
	$(PYTHON) make.py install

main: $(INSTALLED)  ## Train every architecture with small settings, and compare them
	$(RUN) --experiment-name comparison

moe: $(INSTALLED)  ## Train the mixture of experts and track the run
	$(RUN) -e moe --experiment-name moe

moe-extended: $(INSTALLED)  ## More experts, a hidden-layer gate, balanced load
	$(RUN) -e moe_extended --experiment-name moe

DATA ?= download
cnn: $(INSTALLED)  ## Train on DATA: download (default), synthetic, or the path of a zip or folder
	$(RUN) -e cnn --experiment-name cnn -P data="$(DATA)"

cnn-synthetic: $(INSTALLED)  ## The same in a minute and without network, on synthetic photographs
	$(RUN) -e cnn --experiment-name cnn -P data=synthetic -P image_size=64 -P num_epochs=20

rnn: $(INSTALLED)  ## Train a recurrent network to echo letters
	$(RUN) -e rnn --experiment-name rnn

seq: $(INSTALLED)  ## Train a recurrent network to classify the order of two marks
	$(RUN) -e seq_classification --experiment-name seq_classification

data: $(INSTALLED)  ## Fetch and decode the photographs of DATA
	python -m experiments.data --data "$(DATA)"

EXPERIMENT ?= moe
TRIALS ?= 50
WORKERS ?= 2
SET ?=
tune: $(INSTALLED)  ## Tune EXPERIMENT (default moe), TRIALS on WORKERS, with SET="name=value ..."
	python -m tuning $(EXPERIMENT) --trials $(TRIALS) --workers $(WORKERS) $(if $(SET),--set $(SET))

ui: $(INSTALLED)  ## Print links to the runs, and start the MLflow UI
	python -m experiments.ui

playground: $(INSTALLED)  ## Play with trained models at http://localhost:8501
	python -m playground

test: $(INSTALLED)  ## Run the tests (some 6 minutes on two cores)
	python make.py test

test-slow: $(INSTALLED)  ## Run every test that this machine can, those with servers and kills too
	python -m pytest -n 2 --dist worksteal

gpu-check: $(INSTALLED)  ## Check and measure everything on the GPU (in miniature without one)
	python -m benchmarks.gpu_check $(if $(filter-out download,$(DATA)),"$(DATA)")

notebooks: $(INSTALLED)  ## Execute the notebooks anew, from their sources (some 8 minutes)
	python -m notebooks.build

screenshots: $(INSTALLED)  ## Take the README's pictures of the MLflow UI anew (needs chromium)
	SCREENSHOTS=$(CURDIR)/docs python -m pytest tests/test_browser.py

PRODUCT := datasets experiments harness models playground tuning dl_experiments.py make.py
lint: $(INSTALLED)  ## Check style and types
	ruff check .
	ruff format --check .
	mypy
	for system in win32 darwin; do mypy --platform $$system --cache-dir .mypy_cache/$$system $(PRODUCT) || exit; done

project: $(INSTALLED)  ## Write MLproject, conda.yaml and docs/parameters.md from the configurations
	python -m harness.project
	python -m harness.parameters

clean:  ## Remove the environment and caches; tracked runs stay
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './mlruns/*' -prune -exec rm -rf {} +
