# Two commands to know: `make moe` (a tracked run) and `make test`. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Imports of torch and mlflow take twice as long where byte code is not kept.
unexport PYTHONDONTWRITEBYTECODE

RUN = mlflow run . --env-manager local

.DEFAULT_GOAL := help
.PHONY: help install main moe moe-extended cnn cnn-drawn rnn seq data tune ui test test-slow screenshots lint project clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(INSTALLED)  ## Create .venv with everything (the other targets do so by themselves)

$(INSTALLED): pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python -r pyproject.toml --extra dev
	touch $@

main: $(INSTALLED)  ## Train every architecture with small settings, and compare them
	$(RUN) --experiment-name comparison

moe: $(INSTALLED)  ## Train the mixture of experts and track the run
	$(RUN) -e moe --experiment-name moe

moe-extended: $(INSTALLED)  ## More experts, a hidden-layer gate, balanced load
	$(RUN) -e moe_extended --experiment-name moe

DATA ?= download
cnn: $(INSTALLED)  ## Train on DATA: download (default), drawn, or the path of a zip or folder
	$(RUN) -e cnn --experiment-name cnn -P data="$(DATA)"

cnn-drawn: $(INSTALLED)  ## The same in a minute and without network, on drawn animals
	$(RUN) -e cnn --experiment-name cnn -P data=drawn -P image_size=64 -P num_epochs=20

rnn: $(INSTALLED)  ## Train a recurrent network to echo letters
	$(RUN) -e rnn --experiment-name rnn

seq: $(INSTALLED)  ## Train a recurrent network to tell in which order two marks came
	$(RUN) -e seq_classification --experiment-name seq_classification

data: $(INSTALLED)  ## Fetch and decode the photographs of DATA
	python -m experiments.data --data "$(DATA)"

EXPERIMENT ?= moe
TRIALS ?= 50
WORKERS ?= 2
SET ?=
tune: $(INSTALLED)  ## Tune EXPERIMENT (default moe), TRIALS on WORKERS, with SET="name=value ..."
	python -m tuning $(EXPERIMENT) --trials $(TRIALS) --workers $(WORKERS) $(if $(SET),--set $(SET))

ui: $(INSTALLED)  ## Browse the runs at http://localhost:5000
	@echo 'Open http://localhost:5000 and choose "Model training" at the top left.'
	mlflow ui

test: $(INSTALLED)  ## Run the tests (some 5 minutes on two cores)
	python -m pytest -n 2 --dist loadfile -m "not slow and not gpu"

test-slow: $(INSTALLED)  ## Run every test that this machine can, those with servers and kills too
	python -m pytest -n 2 --dist loadfile

screenshots: $(INSTALLED)  ## Take the README's pictures of the MLflow UI anew (needs chromium)
	SCREENSHOTS=$(CURDIR)/docs python -m pytest tests/test_browser.py

lint: $(INSTALLED)  ## Check style and types
	ruff check .
	ruff format --check .
	mypy

project: $(INSTALLED)  ## Write MLproject and conda.yaml from the configurations and pins
	python -m experiments.harness.project

clean:  ## Remove the environment and caches; tracked runs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './mlruns/*' -prune -exec rm -rf {} +
