"""The image's pinned packages are ones that dpucsi works with: `docker/lock` writes them anew."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("requirements.txt", [*PROJECT["project"]["dependencies"], *EXTRAS["emulator"], *EXTRAS["kubernetes"]]),
        ("build-requirements.txt", PROJECT["build-system"]["requires"]),
    ],
)
def test_what_is_asked_for_is_pinned(file: str, wanted: list[str]) -> None:
    text = (CHECKOUT / "docker" / file).read_text()
    pinned = dict(re.findall(r"^(\S+)==(\S+) \\$", text, re.MULTILINE))
    for requirement in map(Requirement, wanted):
        version = pinned.get(requirement.name)
        assert version, f"{requirement} is not in docker/{file}: run docker/lock"
        assert requirement.specifier.contains(version), f"docker/{file} has {version} of {requirement}: run docker/lock"


@pytest.mark.parametrize("file", ["requirements.txt", "build-requirements.txt"])
def test_a_lock_has_hashes_and_names_no_index(file: str) -> None:
    lines = (CHECKOUT / "docker" / file).read_text().splitlines()
    pins = [number for number, line in enumerate(lines) if "==" in line and not line.startswith(" ")]
    assert pins
    assert [lines[number] for number in pins if "--hash=sha256:" not in lines[number + 1]] == []
    assert [line for line in lines if re.match(r"--|.*://", line)] == []
