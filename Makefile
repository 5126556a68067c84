# The front door. `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
BIN := $(CURDIR)/.venv/bin
PYTEST := cd glue && $(BIN)/pytest

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## make the tools' environment (.venv) from glue/uv.lock
	@scripts/tools

demo: tools ## provision a container with site.yml, send a mail and read it over IMAP, POP3 and the web
	@$(BIN)/python scripts/demo up

demo-down: tools ## remove all that `make demo` made
	@$(BIN)/python scripts/demo down

lint: tools ## format, style, types, floors, YAML, Ansible
	@scripts/lint

test-fast: tools ## unit and wire tests, in a few minutes
	@$(PYTEST) tests/unit tests/wire

test: lint test-fast ## everything: also kill -9, containers, the demo twice, the whole site on Debian 12 and 13
	@$(PYTEST) -s tests/crash
	@$(PYTEST) tests/integration -m containers
	@$(BIN)/python scripts/demo check
	@molecule/run

# Each may be given by hand; POSTANE_CRASH_SEED and POSTANE_FUZZ_SEED make other runs.
test-long: export POSTANE_CRASH_ROUNDS ?= 500
test-long: export POSTANE_POWER_CUTS ?= 200
test-long: export POSTANE_REPLAY_CUTS ?= 5000
test-long: export POSTANE_REPLAY_MESSAGES ?= 300
test-long: export POSTANE_FUZZ_SECONDS ?= 600
test-long: export POSTANE_FUZZ_ROUNDS ?= 20000
test-long: export POSTANE_FUZZ_SESSIONS ?= 5000
test-long: export POSTANE_FUZZ_SPOOLS ?= 1000
test-long: export POSTANE_QUEUED ?= 100000
test-long: export POSTANE_SOAK_MESSAGES ?= 1000000
test-long: export POSTANE_SPF_CASES ?= 20000
test-long: tools ## hours: a thousand kills, hundreds of power cuts, long fuzzing; figures are printed
	@$(PYTEST) -s tests/crash tests/unit tests/wire
	@molecule/run all

bench: tools ## Postane beside Postfix, OpenSMTPD and aiosmtpd: table, docs/bench.svg, bench/results (QUICK=1, FULL=1)
	@$(BIN)/python -m bench $(if $(QUICK),--quick) $(if $(FULL),--full)

changelog: tools ## make a release's section of CHANGELOG.md: make changelog VERSION=0.2.0
	@$(BIN)/python scripts/changelog $(VERSION)

.PHONY: help tools demo demo-down lint test-fast test test-long bench changelog
