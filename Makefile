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
.PHONY: help setup run test lint clean

help:  ## Say what there is to make.
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 18

setup: .venv/.installed  ## Install what is missing: the locked packages into .venv.

run: setup  ## Run the pipeline on the bundled reviews; ARGS="..." goes to `imdb-pipeline run`.
	@.venv/bin/python -m pipeline run $(ARGS)

test: setup  ## Run the tests; ARGS="..." goes to pytest.
	@.venv/bin/python -m pytest $(ARGS)

lint: setup  ## Check style and types.
	@.venv/bin/ruff check pipeline components tests
	@.venv/bin/ruff format --check pipeline components tests
	@.venv/bin/mypy

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
