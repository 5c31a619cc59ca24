"""Prints what is inside of an image as a CycloneDX 1.6 document: its Debian packages and its Python packages.

Runs inside of the image with the interpreter that the services run with; needs nothing else.
"""

import json
import platform
import re
import subprocess
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

PRODUCT = "dpu-csi"
FIELDS = ("binary:Package", "Version", "Architecture", "db:Status-Status", "source:Package", "source:Version")


def main() -> None:
    """Writes the document to standard output; the same content gives the same bytes."""
    python = sorted((python_component(found) for found in distributions()), key=lambda part: part["name"])
    product = next(part for part in python if part["name"] == PRODUCT)
    python.remove(product)
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": product | {"type": "application"}},
        "components": [operating_system(), *debian_components(), *python],
    }
    print(json.dumps(document, indent=1))


def operating_system() -> dict[str, Any]:
    """What the base is: vulnerability scanners choose their database by it."""
    release = platform.freedesktop_os_release()
    return {"type": "operating-system", "bom-ref": "os", "name": release["ID"], "version": release["VERSION_ID"]}


def debian_components() -> list[dict[str, Any]]:
    """One component for each installed package, in the order of their names."""
    form = "\t".join(f"${{{field}}}" for field in FIELDS) + "\n"
    listed = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={form}"], check=True, capture_output=True, text=True
    )
    rows = [line.split("\t") for line in listed.stdout.splitlines()]
    return [debian_component(*row) for row in sorted(rows) if row[3] == "installed"]


def debian_component(
    package: str, version: str, architecture: str, _status: str, source: str, source_version: str
) -> dict[str, Any]:
    """A Debian package; its licences as its copyright file names them."""
    name = package.partition(":")[0]
    distro = f"debian-{platform.freedesktop_os_release()['VERSION_ID']}"
    upstream = source if source_version == version else f"{source}@{source_version}"
    purl = (
        f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={architecture}&distro={distro}&upstream={quote(upstream)}"
    )
    return component(name, version, purl, [{"license": {"name": text}} for text in debian_licences(name)])


def debian_licences(package: str) -> list[str]:
    """Short names of the licences in a package's copyright file; where that is free text, where to read it."""
    copyright_file = Path("/usr/share/doc", package, "copyright")
    text = copyright_file.read_text(errors="replace") if copyright_file.exists() else ""
    if "packaging-manuals/copyright-format" not in text:
        return [f"see {copyright_file}"]
    return sorted(set(re.findall(r"^License:[ \t]*(\S.*?)[ \t]*$", text, re.MULTILINE)))


def python_component(found: Distribution) -> dict[str, Any]:
    """An installed Python package; its licence as an SPDX expression, or in its author's words."""
    metadata = found.metadata
    name = re.sub(r"[-_.]+", "-", metadata["Name"]).lower()
    if expressions := metadata.get_all("License-Expression"):
        licences: list[dict[str, Any]] = [{"expression": expressions[0]}]
    else:
        classes = [line.split(" :: ") for line in metadata.get_all("Classifier") or []]
        words = [text.strip().splitlines()[0] for text in metadata.get_all("License") or [] if text.strip()]
        licences = [
            {"license": {"name": text}} for text in words or [parts[-1] for parts in classes if parts[0] == "License"]
        ]
    return component(name, found.version, f"pkg:pypi/{quote(name)}@{quote(found.version)}", licences)


def component(name: str, version: str, purl: str, licences: list[dict[str, Any]]) -> dict[str, Any]:
    """What both kinds have in common."""
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        **({"licenses": licences} if licences else {}),
    }


if __name__ == "__main__":
    main()
