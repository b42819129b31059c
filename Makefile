# Needs Python 3.11, pip and make; everything else goes into .tools and .venv, without root.

UV_VERSION := 0.13.9
UV := .tools/uv-$(UV_VERSION)/bin/uv
# Set ARGS to pass arguments on: make run ARGS="--source ../aclImdb_v1.tar.gz"
ARGS ?=

# The first of these that is Python 3.11; PYTHON=... on the command line chooses another.
IS_PYTHON_311 := import sys; sys.exit(sys.version_info[:2] != (3, 11))
PYTHON ?= $(shell for python in python3.11 python3 python; do \
	if $$python -c '$(IS_PYTHON_311)' 2>/dev/null; then command -v $$python; break; fi; done)

.DEFAULT_GOAL := help
.PHONY: help setup run test lint audit bench image image-gpu clean

# The client, the base and the name of the images, whose tag is the version; PIP_INDEX_URL is passed on, or, for one with a
# password, PIP_CONF, the path of a pip.conf.
DOCKER ?= docker
BASE_IMAGE ?= python:3.11-slim-bookworm
IMAGE ?= imdb-pipeline-python
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

PIP_ARGS = $(if $(PIP_CONF),--secret id=pip.conf$(comma)src='$(PIP_CONF)', \
	$(if $(PIP_INDEX_URL),$(if $(findstring @,$(PIP_INDEX_URL)),$(error PIP_INDEX_URL has a password, \
	which the image would show: put it into a file and give PIP_CONF=FILE),--build-arg PIP_INDEX_URL)))
comma := ,
BUILD_IMAGE = $(DOCKER) build --file docker/Dockerfile --build-arg BASE_IMAGE='$(BASE_IMAGE)' \
	--build-arg UV_VERSION=$(UV_VERSION) $(PIP_ARGS) \
	--build-arg VERSION='$(VERSION)' \
	--build-arg REVISION='$(shell git describe --always --abbrev=40 --exclude="*" --dirty 2>/dev/null)' \
	--build-arg SOURCE='$(shell git config --get remote.origin.url | sed "s,//[^/@]*@,//,")' $(ARGS)

help:  ## Say what there is to make.
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 18

setup: .venv/.installed  ## Install what is missing: the locked packages into .venv.

run: setup  ## Run the pipeline on the bundled reviews; ARGS="..." goes to `imdb-pipeline run`.
	@.venv/bin/python -m pipeline run $(ARGS)

test: setup  ## Run the tests; ARGS="..." goes to pytest.
	@.venv/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadscope \
		--no-loadscope-reorder $(ARGS)

lint: setup  ## Check style and types.
	@.venv/bin/ruff check imdb_pipeline pipeline components tests
	@.venv/bin/ruff format --check imdb_pipeline pipeline components tests
	@.venv/bin/mypy

audit: setup  ## Look the locked packages up among known vulnerabilities.
	@.ci/audit

BENCHMARKS := training preprocessing preprocessing_under_load end_to_end serving replicas
bench: setup  ## Compare speeds with Keras's and TFX's; ARGS="--source FILE" brings other reviews.
	@status=0; for name in $(BENCHMARKS); do \
		.venv/bin/python tests/benchmarks/$$name.py --json build/bench/$$name.json $(ARGS) || status=1; \
	done; exit $$status

image:  ## Build the image that the tasks run in; ARGS="..." goes to `docker build`.
	@$(BUILD_IMAGE) --tag '$(IMAGE):$(VERSION)' .

image-gpu:  ## Build the image for NVIDIA GPUs.
	@$(BUILD_IMAGE) --build-arg ACCELERATOR=gpu --tag '$(IMAGE):$(VERSION)-gpu' .

clean:  ## Remove what setup and the tools have made; runs and models stay.
	rm -rf .venv .tools .pytest_cache .hypothesis .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml uv.lock .ci/install $(UV)
	@PYTHON='$(PYTHON)' UV='$(UV)' .ci/install
	@touch $@

$(UV):
	@if [ -z '$(PYTHON)' ]; then \
		echo 'Python 3.11 is needed, and neither python3.11, python3 nor python is one. Install it,' \
			'or say where it is: make PYTHON=/path/to/python3.11' >&2; exit 1; fi
	@if ! '$(PYTHON)' -m pip --version >/dev/null 2>&1; then \
		echo '$(PYTHON) has no pip. Install it (Debian, Ubuntu: python3-pip).' >&2; exit 1; fi
	@echo 'Installing uv $(UV_VERSION) into .tools'
	@PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_ROOT_USER_ACTION=ignore '$(PYTHON)' -m pip install --quiet --upgrade \
		--disable-pip-version-check --no-deps --only-binary :all: \
		--target '.tools/uv-$(UV_VERSION)' 'uv==$(UV_VERSION)'
