# Everything is set up in .venv; the checkout is linked there as the collection codeblue.recovery.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup
setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[lab,dev]'
	@site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	 mkdir -p $$site/ansible_collections/codeblue && \
	 rm -rf $$site/ansible_collections/codeblue/recovery && ln -sfn $(CURDIR) $$site/ansible_collections/codeblue/recovery
	@touch $@
