"""What is in the image, and what is not."""

import os
import re
import stat
import subprocess
import tempfile
from collections import Counter
from importlib.metadata import distributions
from pathlib import Path

import pytest
from tests.e2e.image.conftest import CHECKOUT
from tests.e2e.image.image import SBOM, Image

SITE_PACKAGES = "opt/dpucsi/lib/python3.11/site-packages"
HASH_BASED, CHECKED = 0b01, 0b10  # flags in the second word of a .pyc, PEP 552
PUBLIC = ".org"  # the public archives are all below it, and packages mention them in their own texts


@pytest.fixture(scope="module")
def files(image: Image) -> list[Path]:
    """Every regular file of the image, relative to its root."""
    found = [Path(folder, name) for folder, _, names in os.walk(image.root) for name in names]
    return [path.relative_to(image.root) for path in found if path.is_file() and not path.is_symlink()]


def test_it_runs_as_nobody_and_says_what_it_is(image: Image) -> None:
    config = image.config
    assert config["User"] == "65532:65532"
    assert "Entrypoint" not in config
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert {"title", "description", "licenses", "version", "revision", "created"} <= labels.keys()
    assert labels["version"] in (CHECKOUT / "pyproject.toml").read_text()


def test_nothing_builds_or_installs_in_it(image: Image, files: list[Path]) -> None:
    tools = re.compile(r"(.*-)?(gcc|g\+\+|cc|c\+\+|cpp|as|ld|make|clang|go|rustc)(-[\d.]+)?|pip[\d.]*|uv|conda")
    programs = [name for name in files if name.parent.name in ("bin", "sbin") or name.suffix == ".a"]
    assert [name for name in programs if tools.fullmatch(name.name)] == []
    # Links count too: `cc` is one.
    links = [path for folder in ("usr/bin", "usr/sbin", "opt/dpucsi/bin") for path in (image.root / folder).iterdir()]
    assert [path.name for path in links if tools.fullmatch(path.name)] == []
    assert [name for name in files if {"pip", "setuptools", "ensurepip", "grpc_tools"} & set(name.parts)] == []


def test_no_program_changes_its_user(image: Image, files: list[Path]) -> None:
    assert [name for name in files if (image.root / name).stat().st_mode & (stat.S_ISUID | stat.S_ISGID)] == []
    writable = [name for name in files if (image.root / name).stat().st_mode & stat.S_IWOTH]
    assert writable == []


def test_no_lists_caches_and_logs(files: list[Path]) -> None:
    folders = ("var/lib/apt/lists", "var/cache", "var/log", "tmp", "root/.cache", "src", "wheels", "tools")
    assert [name for name in files if any(name.is_relative_to(folder) for folder in folders)] == []


def test_nothing_of_the_machine_that_built_it(image: Image) -> None:
    """No path of it, no host that it takes packages from, none of the certificates it trusts beside the usual ones."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([CHECKOUT / "docker" / "machine", folder], check=True)
        sources = "".join((Path(folder) / name).read_text() for name in ("apt.list", "apt.conf", "pip.conf"))
    hosts = re.findall(r"://(?:[^/@\s]*@)?([^/:\s\"]+)", sources)
    words = {str(CHECKOUT), str(image.folder), *(host for host in hosts if not host.endswith(PUBLIC))}
    argv = ["grep", "-rlF", *(f"--regexp={word}" for word in words), str(image.root)]
    assert subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines() == []
    trusted = (image.root / "etc/ssl/certs/ca-certificates.crt").read_text().count("BEGIN CERTIFICATE")
    assert trusted == len(list((image.root / "usr/share/ca-certificates").rglob("*.crt")))
    assert not (image.root / "etc/pip.conf").exists()


def test_bytecode_is_complete_and_holds_whatever_the_times_are(image: Image, files: list[Path]) -> None:
    """A read-only root cannot be mended at the first import, and all files of a layer have the same time."""
    sources = [name for name in files if name.suffix == ".py" and name.is_relative_to("opt")]
    assert len(sources) > 1000
    for name in sources:
        compiled = image.root / name.parent / "__pycache__" / f"{name.stem}.cpython-311.pyc"
        with compiled.open("rb") as file:
            assert file.read(8)[4] == HASH_BASED | CHECKED, name


def test_the_sbom_lists_exactly_what_is_installed(image: Image) -> None:
    document = image.document_in_root(SBOM)
    parts = [document["metadata"]["component"], *document["components"]]
    python = {part["name"]: part["version"] for part in parts if part.get("purl", "").startswith("pkg:pypi/")}
    assert python == {
        re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower(): found.version
        for found in distributions(path=[str(image.root / SITE_PACKAGES)])
    }
    pinned = re.findall(r"^(\S+)==(\S+)", (CHECKOUT / "docker" / "requirements.txt").read_text(), re.MULTILINE)
    assert python.items() - {("dpu-csi", python["dpu-csi"])} == set(pinned)
    assert {"grpcio", "protobuf", "structlog", "kubernetes"} <= python.keys()

    status = (image.root / "var/lib/dpkg/status").read_text()
    debian = {part["name"]: part["version"] for part in parts if part.get("purl", "").startswith("pkg:deb/")}
    installed = [entry for entry in status.split("\n\n") if "\nStatus: install ok installed" in entry]
    fields = [dict(re.findall(r"^(Package|Version): (.*)$", entry, re.MULTILINE)) for entry in installed]
    assert debian == {field["Package"]: field["Version"] for field in fields}
    assert {"e2fsprogs", "xfsprogs", "libssl3"} <= debian.keys()


def test_the_sbom_is_well_formed(image: Image) -> None:
    document = image.document_in_root(SBOM)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    parts = [document["metadata"]["component"], *document["components"]]
    repeated = [ref for ref, count in Counter(part["bom-ref"] for part in parts).items() if count > 1]
    assert repeated == []
    without = [part["name"] for part in parts if part["type"] == "library" and not part.get("licenses")]
    assert without == []
