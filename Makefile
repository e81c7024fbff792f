# Two commands are enough: `make demo` and `make test`. Each sets up .venv by itself, once.

PYTHON ?= python3.13
ARGS ?=

BIN := .venv/bin
RUN := $(BIN)/python -m
LOCKS := requirements.txt requirements-build.txt requirements-dev.txt

# The set-up is done for these very files in this very folder; anything else means: do it again.
READY := .venv/.ready-$(shell { pwd; cat pyproject.toml $(LOCKS); } | cksum | cut -d ' ' -f 1)

IS_NEW_ENOUGH := 'import sys; print("yes" if sys.version_info >= (3, 13) else "")'
NO_PYTHON = $(PYTHON) is not Python 3.13: install it, or say where: make PYTHON=/path/to/python3.13

TYPED := $(sort $(dir $(wildcard avr_bridge/*.py tests/*.py examples/*.py benchmarks/*.py scripts/*.py)))

# Most of the time tests wait for real time to pass: three processes, each file in one of them, those
# that wait first (tests/conftest.py). Those with a real Asterisk are apart: make asterisk-test.
IN_THREE := -n 3 --dist loadfile --no-loadscope-reorder --ignore tests/asterisk

COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.PHONY: help demo test asterisk-test bench container-test lint types docs picture lock clean

help: ## Show this
	@echo 'make <target>, with Python 3.13:'
	@sed -n 's/^\([a-z-]*\):.* ## /  \1\t/p' Makefile | expand -t 18

demo: $(READY) ## Hear one call through the bridge (ARGS="..." for avr-bridge demo)
	@$(RUN) avr_bridge demo $(ARGS)

test: $(READY) ## Run all tests but the two below (ARGS="tests/unit -x" for pytest)
	@$(RUN) pytest $(or $(ARGS),$(IN_THREE))

asterisk-test: $(READY) ## Place real calls through a real Asterisk (root; fetched once, in minutes)
	@$(BIN)/python scripts/asterisk.py || echo 'skipped: no Asterisk can be had here'
	@$(RUN) pytest -n 3 $(or $(ARGS),tests/asterisk)

container-test: $(READY) ## Build the image and place calls to it, with buildah, as root
	@$(RUN) scripts.container

bench: $(READY) ## Measure the bridge beside a fixed yardstick, 12 minutes (ARGS="--calls 10")
	@$(RUN) benchmarks.calls $(ARGS)

lint: $(READY) ## Check style and formatting
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .

types: $(READY) ## Check types, strictly
	@$(RUN) mypy $(TYPED)

docs: $(READY) ## Write docs/settings.md anew from the code
	@$(BIN)/python scripts/settings_page.py

picture: $(READY) ## Take docs/console.png anew (needs Chromium, Node and npm)
	@$(RUN) scripts.console_picture docs/console.png

lock: $(READY) ## Write the lock files anew after a change in pyproject.toml (UPGRADE=1: newest)
	$(COMPILE) pyproject.toml -o requirements.txt
	$(COMPILE) --group build -o requirements-build.txt
	$(COMPILE) pyproject.toml --extra soak --group dev -c requirements.txt -c requirements-build.txt \
		-o requirements-dev.txt

clean: ## Remove .venv, caches and what was built
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage dist
	rm -rf tests/peer/node/node_modules tests/peer/browser/node_modules
	find . -name __pycache__ -prune -exec rm -rf {} +

# Every file that is installed has its hash in a lock file; the project itself is built by the
# locked build backend, not by one fetched for the occasion.
$(READY):
	$(if $(shell $(PYTHON) -c $(IS_NEW_ENOUGH) 2>/dev/null),,$(error $(NO_PYTHON)))
	@echo 'Setting up .venv (once; about a minute) ...'
	@test -x $(BIN)/python || rm -rf .venv
	@$(PYTHON) -m venv .venv
	@rm -f .venv/.ready-*
	@$(RUN) pip install -qq --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@$(RUN) pip install -qq --disable-pip-version-check --no-deps --no-build-isolation \
		--editable .
	@touch $@
