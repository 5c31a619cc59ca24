# Two commands matter: `make quickstart` (one volume through its whole life) and `make test`.
VENV ?= .venv
PYTHON ?= python3
TOOLS_HOME ?= $(HOME)/.cache/dpucsi-tools
CSI_SANITY_VERSION = v5.6.0
# Two at a time (tests/conftest.py says which): most of a test is waiting. A real spdk_tgt polls, and wants its cores
# for itself.
WORKERS ?= $(if $(SPDK_TGT),0,2)
BIN = $(VENV)/bin
export TOOLS_HOME

.PHONY: quickstart test lint protos packages guest-packages csi-sanity clean

quickstart: packages $(VENV)/lab.stamp  ## ARGS=--keep leaves it running
	$(BIN)/python deploy/dev/quickstart.py $(ARGS)

test: guest-packages csi-sanity $(VENV)/test.stamp  ## ARGS="tests/unit -k slots"
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup $(ARGS)

lint: $(VENV)/test.stamp
	$(BIN)/tox run -e lint,types

protos: $(VENV)/test.stamp
	$(BIN)/tox run -e protos

# The Debian packages with which volumes are formatted and mounted.
packages:
	@deploy/dev/packages

# What the tests with a Linux guest need: its kernel's NVMe/TCP initiator judges the emulator's target.
guest-packages:
	@deploy/dev/packages guest

# The CSI project's own conformance suite, built once and kept outside the checkout.
csi-sanity: $(TOOLS_HOME)/bin/csi-sanity

$(TOOLS_HOME)/bin/csi-sanity:
	@command -v go >/dev/null || { echo "csi-sanity needs Go 1.24 or newer to build: install it, or run 'make test ARGS=tests/unit'"; exit 1; }
	@echo "building csi-sanity $(CSI_SANITY_VERSION) (a few minutes, once)"
	GOBIN=$(TOOLS_HOME)/bin CGO_ENABLED=0 go install github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity@$(CSI_SANITY_VERSION)

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python 3.11 or newer with venv is needed: apt-get install python3-venv"; exit 1; }

PROTOS = $(shell find protos -name '*.proto' -o -name '*.py')

$(VENV)/lab.stamp: $(VENV)/bin/pip pyproject.toml $(PROTOS)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[lab]'
	@touch $@

$(VENV)/test.stamp: $(VENV)/bin/pip pyproject.toml $(PROTOS)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]' tox
	@touch $@ $(VENV)/lab.stamp

clean:
	rm -rf $(VENV) .tox build dist libs/dpucsi/api
