# Two commands matter: `make quickstart` (one volume through its whole life) and `make test`.
VENV ?= .venv
PYTHON ?= python3
TOOLS_HOME ?= $(HOME)/.cache/dpucsi-tools
CSI_SANITY_VERSION = v5.6.0
BIN = $(VENV)/bin
export TOOLS_HOME

.PHONY: quickstart test lint protos packages csi-sanity clean

quickstart: packages $(VENV)/lab.stamp  ## ARGS=--keep leaves it running
	$(BIN)/python deploy/dev/quickstart.py $(ARGS)

test: packages csi-sanity $(VENV)/test.stamp  ## ARGS="tests/unit -k slots"
	$(BIN)/pytest $(ARGS)

lint: $(VENV)/test.stamp
	$(BIN)/tox run -e lint,types

protos: $(VENV)/test.stamp
	$(BIN)/tox run -e protos

# The Debian packages with which volumes are formatted and mounted.
packages:
	@deploy/dev/packages

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
