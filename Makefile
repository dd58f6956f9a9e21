# Needs Python 3.11 or newer, make and a package registry. `uv` is used where it is found, and pip otherwise.
# Everything is installed into .venv, in exactly the versions and with the hashes of requirements/.
SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
# What generates a client wants other versions of what we want.
CLIENT ?= .venv-client
BIN := $(VENV)/bin
# Up to 3.12 there is a Redis in a wheel; on others a redis-server of the machine is used, or an imitation.
PYTHON ?= $(shell for python in python3.12 python3.11 python3 python3.13 python3.14 python; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
# Processes that run tests; each has a PostgreSQL and a Redis of its own.
JOBS ?= 4
# More for pytest, as in: make test ARGS="tests/models -k claim"
ARGS ?=
SOURCES := classifier cli embedded models simulator vendors web worker tests benchmarks

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.try ## see it all at work on this machine; ONCE=1 ends once every health was seen
	$(BIN)/python -m cli.demo $(if $(ONCE),--once)

.PHONY: up
up: $(VENV)/.try ## run it for real on this machine, with a PostgreSQL and a Redis of its own
	$(BIN)/python -m cli.main up

.PHONY: test
test: $(VENV)/.dev ## run the tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m "not soak" $(ARGS)

.PHONY: check
check: $(VENV)/.dev ## what must hold besides the tests: format, lint, types, layers, dependencies, schemas, images
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --verbose
	$(BIN)/deptry .
	@! grep -nE '^ *(-i|-f|--[a-z]*index-url|--find-links|--trusted-host)|://' requirements/*.txt \
	  || { echo 'requirements/ names a registry: that is the business of the machine that installs'; exit 1; }
	$(BIN)/check-jsonschema --check-metaschema vendors/schema/*.schema.json
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/compose-lint check --quiet --fail-on low --config deploy/compose-lint.yml --strict-config \
	  --skip-suppressed --no-env --no-merge-overrides docker-compose.yml
	$(BIN)/hadolint Dockerfile
	$(MAKE) --no-print-directory client

.PHONY: client
client: $(VENV)/.dev $(CLIENT)/.client ## make a typed client of the HTTP API out of its schema, and call with it
	PYTHONPATH=. $(BIN)/python tests/web/generated_client.py $(CLIENT)/bin/python $(CLIENT)/made

.PHONY: bench
bench: $(VENV)/.dev ## measure it side by side with what it is to be measured by; ONLY=claim for one
	@failed=; for script in $$(grep -l __main__ $(if $(ONLY),benchmarks/$(ONLY).py,benchmarks/*.py)); do \
	  echo "== $$script"; PYTHONPATH=. $(BIN)/python $$script $(ARGS) || failed="$$failed $$script"; done; \
	  [ -z "$$failed" ] || { echo "targets missed:$$failed"; exit 1; }

.PHONY: soak
soak: $(VENV)/.dev ## break it at random until 100,000 runs have ended (or for MINUTES), from SEED, and see that all holds
	PYTHONPATH=. $(BIN)/python tests/faults/soak.py $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

SEEDS ?= 1 2 3 4 5
.PHONY: soak-seeds
soak-seeds: $(VENV)/.dev ## the same for each of SEEDS, the reports into .soak/
	@mkdir -p .soak; failed=; for seed in $(SEEDS); do \
	  PYTHONPATH=. $(BIN)/python tests/faults/soak.py $(if $(MINUTES),--minutes $(MINUTES)) --seed $$seed \
	    --report .soak/seed-$$seed.txt $(ARGS) || failed="$$failed $$seed"; done; \
	  [ -z "$$failed" ] || { echo "an invariant broke with seed$$failed"; exit 1; }

.PHONY: soak-mutants
soak-mutants: $(VENV)/.dev ## take the guards out one by one: the soak must fail without each (ONLY=fence,reaper for some)
	@mkdir -p .soak
	PYTHONPATH=. $(BIN)/python tests/faults/soak_mutants.py --report .soak/mutants.md $(if $(ONLY),--only $(ONLY)) $(ARGS)

.PHONY: drills
drills: $(VENV)/.dev ## break it in every way that is known, and tell what it cost; then 200,000 runs (RUNS)
	$(BIN)/python -m pytest tests/faults -rP --timeout 900 $(ARGS)
	PYTHONPATH=. $(BIN)/python tests/faults/long_run.py --runs $(or $(RUNS),200000)

.PHONY: lock
lock: ## pin requirements/*.txt anew from requirements/*.in; UPGRADE=1 takes the newest (needs uv)
	@command -v uv >/dev/null || { echo 'make lock needs uv: pip install uv'; exit 1; }
	cd requirements && for name in run try dev build client; do \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	    --no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade) -o $$name.txt $$name.in || exit 1; done

.PHONY: clean
clean: ## remove what the above made, the demo's data too; what `up` keeps stays
	@if [ -d .demo ] && [ -x $(BIN)/python ]; then $(BIN)/python -m embedded --dir .demo --remove; fi
	rm -rf $(VENV) $(CLIENT) .demo .soak dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# What is installed is remembered by these two: a second call finds nothing to do.
$(VENV)/.try: requirements/try.txt
	@$(call install,$<)
	@touch $@

$(VENV)/.dev: requirements/dev.txt requirements/try.txt
	@$(call install,$<)
	@touch $@ $(VENV)/.try

$(CLIENT)/.client: requirements/client.txt
	@$(MAKE) --no-print-directory VENV=$(CLIENT) install-client
	@touch $@

.PHONY: install-client
install-client:
	@$(call install,requirements/client.txt)

# --no-compile: most of what is installed is never imported, and what is compiles itself.
define install
set -e; \
if [ -z "$(PYTHON)" ]; then echo 'Python 3.11 or newer is needed: apt install python3, or PYTHON=/path/to/python'; exit 1; fi; \
if command -v uv >/dev/null; then \
  [ -x $(BIN)/python ] || uv venv --quiet --python "$(PYTHON)" $(VENV); \
  if uv pip install --quiet --python $(BIN)/python --require-hashes -r $(1); then exit 0; fi; \
  echo 'uv could not install; trying pip, which may know another registry'; \
fi; \
[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m venv --without-pip --clear $(VENV); \
if $(BIN)/python -m pip --version >/dev/null 2>&1; then pip="$(BIN)/python -m pip"; \
else pip="$(PYTHON) -m pip --python $(BIN)/python"; fi; \
echo "installing $(1) into $(VENV)"; \
$$pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r $(1) \
  || { echo 'pip could not install; on Debian and Ubuntu: apt install python3-venv python3-pip'; exit 1; }
endef
