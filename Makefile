# Everything is set up in .venv; the checkout is linked there as the collection codeblue.recovery.
#
#   make drill        break the lab in five ways and recover it by the two runbooks for outages, with a report
#   make drill-all    all eight runbooks with all their faults; about nine minutes on two CPUs
#   make test         lint, sanity, packages, molecule, then unit, integration and drill tests
#   make extended     the side ways of each runbook, minutes each
#   make soak bench   what takes longer, or passes nothing
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CACHE := $(CURDIR)/.cache
# Workers of pytest, and molecule scenarios side by side. A worker keeps a file of tests to itself: it shares a lab.
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n > 4 ? 4 : n < 2 ? 2 : n)))
# How often `make soak` repeats each drill.
TIMES ?= 20
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup drill drill-all extended test lint lint-python lint-ansible sanity molecule unit integration pytest build soak bench clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[lab,aws-lab,dev]'
	@site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	 mkdir -p $$site/ansible_collections/codeblue && \
	 rm -rf $$site/ansible_collections/codeblue/recovery && ln -sfn $(CURDIR) $$site/ansible_collections/codeblue/recovery
	@touch $@

OUTAGES := primary_dead pool_exhausted credentials_refused complete_outage bad_release_outage

drill: setup
	codeblue drill --all $(addprefix --fault ,$(OUTAGES))

drill-all: setup
	codeblue drill --all

# pytest comes last, so that its closing line ends the output.
test: setup
	$(MAKE) --jobs $(JOBS) --output-sync=target lint sanity
	$(MAKE) --jobs $(JOBS) --output-sync=target molecule
	$(MAKE) pytest

lint: lint-python lint-ansible

lint-python: setup
	ruff check .
	ruff format --check .
	mypy cli plugins/plugin_utils plugins/module_utils

lint-ansible: setup
	HOME=$(CACHE)/home ansible-lint --offline --profile production --strict

sanity: setup
	python tests/sanity/run.py

# One clinic for the scenarios of the runbooks and one for those of the roles; every scenario heals it first. A HOME of its
# own, so that no other copy of the collection is found before this one, and an account of its own for each scenario.
# The clinic's path is short (unix sockets) and reachable for nobody, as whom PostgreSQL runs for root.
MOLECULE_LAB := /var/tmp/cbm-$(shell id -u)-$(shell printf %s '$(CURDIR)' | cksum | cut -d ' ' -f 1)
SCENARIOS := $(filter-out default,$(notdir $(patsubst %/molecule.yml,%,$(wildcard extensions/molecule/*/molecule.yml))))
ROLE_SCENARIOS := $(filter role_%,$(SCENARIOS))
RUNBOOK_SCENARIOS := $(filter-out role_%,$(SCENARIOS))

molecule: molecule-runbooks molecule-roles

molecule-runbooks: SCENARIO = $(RUNBOOK_SCENARIOS)
molecule-roles: SCENARIO = $(ROLE_SCENARIOS)
molecule-runbooks molecule-roles $(addprefix molecule-,$(SCENARIOS)): molecule-%: setup
	rm -rf $(CACHE)/molecule/$*
	mkdir -p $(CACHE)/molecule/$*/home
	HOME=$(CACHE)/molecule/$*/home CODEBLUE_MOLECULE_STATE=$(CACHE)/molecule/$*/state \
	 CODEBLUE_SPOOL_DIR=$(CACHE)/molecule/$*/spool CODEBLUE_LAB_DIR=$(MOLECULE_LAB)-$* \
	 molecule test $(addprefix --scenario-name ,$(or $(SCENARIO),$*))

unit: setup
	pytest tests/unit

integration: setup
	pytest -n $(JOBS) --dist loadfile -m 'not ssh and not extended' tests/integration
	pytest -m ssh tests/integration

# What is measured runs alone, and last, so that its closing line ends the output.
pytest: setup
	pytest -n $(JOBS) --dist loadfile -m 'not alone and not extended'
	pytest -m 'alone and not extended'

# The side ways of each runbook: gates that close, kills at chosen steps, what others put back. Some twenty minutes.
extended: setup
	pytest -n $(JOBS) --dist loadfile -m 'extended and not alone'
	pytest -m 'extended and alone'

build: setup
	rm -rf dist
	ansible-galaxy collection build --output-path dist
	python -m build --wheel --outdir dist

soak: setup extended
	python tests/soak/drills.py --times $(TIMES)
	python tests/soak/kill_sweep.py
	python tests/soak/kubernetes_kill_sweep.py

bench: setup
	for each in tests/benchmarks/*.py; do python $$each || exit 1; done

clean:
	rm -rf dist build .ansible .cache .mypy_cache .pytest_cache .ruff_cache
