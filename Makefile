# Four commands matter: `make quickstart` (one volume through its whole life), `make kube` (a Kubernetes cluster with the
# product in it, until `make kube-down`), `make test`, and `make lint`.
VENV ?= .venv
PYTHON ?= python3
TOOLS_HOME ?= $(HOME)/.cache/dpucsi-tools
CSI_SANITY_VERSION = v5.6.0
# Two at a time (tests/conftest.py says which): most of a test is waiting. A real spdk_tgt polls, and wants its cores
# for itself.
WORKERS ?= $(if $(SPDK_TGT),0,2)
BIN = $(VENV)/bin
export TOOLS_HOME
# Tests and labs start thousands of services: where it is set, each would compile its modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart kube kube-down kube-tools image test test-kube test-image lint protos packages guest-packages csi-sanity clean

quickstart: packages $(VENV)/lab.stamp  ## ARGS=--keep leaves it running
	$(BIN)/python deploy/dev/quickstart.py $(ARGS)

kube: packages kube-tools $(VENV)/kube.stamp  ## as root; ARGS="--root /tmp/other" for a second one
	$(BIN)/python deploy/dev/kube.py up $(ARGS)

kube-down: $(VENV)/kube.stamp
	$(BIN)/python deploy/dev/kube.py down $(ARGS)

# Kubernetes, the CSI sidecars and the rest of the cluster, built once from Go modules and kept outside the checkout.
kube-tools:
	@tests/e2e/kube/tools/build

# Without what needs a cluster or an image, which have targets of their own.
test: guest-packages csi-sanity $(VENV)/test.stamp  ## ARGS="tests/unit -k slots"
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup --ignore=tests/e2e/kube --ignore=tests/e2e/image $(ARGS)

# Each of the workers has a cluster of its own. What the cases show is printed at the end.
test-kube: packages kube-tools $(VENV)/test.stamp  ## as root; ARGS="-k chaos" WORKERS=0
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup tests/e2e/kube $(ARGS)

# One container image of all services, built without a daemon: $(TOOLS_HOME)/image/dpucsi.oci.tar.
# On a base from a registry: make image BASE=debian:bookworm-slim
image:
	@deploy/dev/packages image
	docker/build $(if $(BASE),--base $(BASE)) $(TOOLS_HOME)/image

test-image: packages image $(VENV)/test.stamp  ## as root
	$(BIN)/pytest -n 0 tests/e2e/image $(ARGS)

lint: $(VENV)/test.stamp
	$(BIN)/tox run -e lint

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

$(VENV)/kube.stamp: $(VENV)/bin/pip pyproject.toml $(PROTOS)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[lab,kubernetes]'
	@touch $@ $(VENV)/lab.stamp

$(VENV)/test.stamp: $(VENV)/bin/pip pyproject.toml $(PROTOS)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]' tox
	@touch $@ $(VENV)/lab.stamp $(VENV)/kube.stamp

clean:
	rm -rf $(VENV) .tox build dist libs/dpucsi/api
