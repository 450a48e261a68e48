# What a machine needs: GNU make, Python 3.11 or newer, and the package registry.
# Everything else is pinned in requirements.lock and installed into .venv, once.
#
#   make verify ARGS="setting=t7 num_seeds=64"    options go to the command in ARGS
#   make verify PYTHON=/opt/python/bin/python3    another interpreter for .venv

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Verified numbers are float64; the package itself never changes JAX's configuration.
export JAX_ENABLE_X64 := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Material for MkDocs announces at every build that it will not support MkDocs 2.
export NO_MKDOCS_2_WARNING := 1

VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
ARGS ?=

##@ Main job
verify: $(READY)  ## check every claim; results, figures and report.html go to outputs/
	$(RUN) scripts/verify.py $(ARGS)

verify-all: $(READY)  ## the same, with the claims that take longer than a minute each
	$(RUN) scripts/verify.py profile=all $(ARGS)

bench: $(READY)  ## measure speed against SciPy, NumPy and plain JAX (a quarter of an hour)
	$(RUN) benchmarks/theorem1.py $(ARGS)
	$(RUN) benchmarks/descent.py $(ARGS)
	$(RUN) benchmarks/sweep.py $(ARGS)
	$(RUN) benchmarks/sweep_devices.py $(ARGS)
	$(RUN) benchmarks/store.py $(ARGS)
	$(RUN) benchmarks/poison.py $(ARGS)

sweep: $(READY)  ## run a grid; ARGS="strength='logspace(-9,3,60)' seed='range(64)'"
	$(RUN) scripts/sweep.py $(ARGS)

reproduce: $(READY)  ## tables and figures of the paper; ARGS=all, ARGS="table=1", ARGS="figure=2"
	$(RUN) scripts/reproduce.py $(ARGS)

poison: $(READY)  ## poison networks of practice; ARGS="experiment=f1_small"
	$(RUN) scripts/poison.py $(ARGS)

certify: $(READY)  ## prove Theorem 1 over boxes of starts; ARGS="boxes=all", ARGS="rel=.2"
	$(RUN) scripts/certify.py $(if $(findstring hydra.run.dir,$(ARGS)),,hydra.run.dir=certificates) $(ARGS)

##@ Tests
test: $(READY)  ## run the default tests and the examples in the docstrings
	$(RUN) -m pytest $(ARGS)

test-all: $(READY)  ## run every test, slow ones included
	$(RUN) -m pytest -m "slow or not slow" $(ARGS)

lint: $(READY)  ## check style and formatting (ruff)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

typecheck: $(READY)  ## check types (pyright)
	$(RUN) -m pyright --pythonpath $(RUN) $(ARGS)

##@ Documentation
docs: $(READY)  ## build the documentation into site/
	$(RUN) -m mkdocs build --strict $(ARGS)

##@ Environment
venv: $(READY)  ## create .venv with the pinned dependencies (the others do so when needed)

cuda: $(READY)  ## add JAX for NVIDIA GPUs to .venv (optional, large)
	$(RUN) -m pip install -c requirements.lock -e '.[cuda]'

tpu: $(READY)  ## add JAX for TPUs to .venv (optional)
	$(RUN) -m pip install -c requirements.lock -e '.[tpu]'

# Pins that still satisfy pyproject.toml are kept; `make lock ARGS=--upgrade` renews them all.
lock: $(READY)  ## write requirements.lock anew from pyproject.toml
	$(RUN) -m uv pip compile --quiet --universal --python-version 3.11 --extra dev \
	  --no-annotate --custom-compile-command "make lock" \
	  --output-file requirements.lock $(ARGS) pyproject.toml

clean:  ## remove build products and caches; keeps .venv and outputs/
	rm -rf build dist site *.egg-info .cache .hypothesis .pytest_cache .ruff_cache
	find ssmbias conf scripts tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## also remove .venv; keeps outputs/
	rm -rf $(VENV)

help:  ## list the targets
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: verify verify-all sweep poison certify reproduce bench test test-all lint typecheck docs venv cuda tpu lock clean distclean help FORCE

# The stamp is written last, so that an interrupted installation leaves none. It holds this
# folder's path: an environment that was copied or moved would import the package from its
# old place.
ifneq ($(shell $(RUN) -c '' 2>/dev/null && cat $(READY) 2>/dev/null),$(CURDIR))
$(READY): FORCE
endif

# Running an interpreter is the only test that sees through the shims of version managers.
PYTHONS := $(or $(PYTHON),python3.13 python3.12 python3.11 python3)
USABLE = -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))'

$(READY): requirements.lock pyproject.toml
	@rm -f $@
	@if ! { $(RUN) $(USABLE) && $(RUN) -m pip --version \
	  && { test ! -e $(VENV)/.path || grep -qxF "$(CURDIR)" $(VENV)/.path; }; } >/dev/null 2>&1; then \
	  for python in $(PYTHONS); do \
	    $$python $(USABLE) >/dev/null 2>&1 && found=$$python && break; \
	  done; \
	  if test -z "$$found"; then \
	    echo "make: no Python >= 3.11 with the venv module under the name(s) $(PYTHONS): install one" \
	      "(on Debian also python3-venv), or name it: make PYTHON=/path/to/python" >&2; \
	    exit 1; \
	  fi; \
	  echo "Creating $(VENV) with $$($$found --version)"; \
	  $$found -m venv --clear $(VENV) && echo "$(CURDIR)" > $(VENV)/.path; \
	fi
	@echo "Installing the pinned dependencies into $(VENV) (once; a minute or two)"
	@$(RUN) -m pip install --quiet -r requirements.lock
	@$(RUN) -m pip install --quiet --no-deps -e .
	@echo "$(CURDIR)" > $@
