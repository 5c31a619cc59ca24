"""Generates `libs/dpucsi/api` from the interface files below `protos/`.

Two callers: hatchling, before it packs a wheel or an editable install, and a person (`python
protos/build_hook.py`, which is `make protos` and `tox -e protos`). Both make the folder anew, so a message
that was removed from an interface file cannot live on in a stale module.
"""

import os
import tempfile
from collections.abc import Iterable
from importlib.metadata import distribution, requires, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from grpc_tools import protoc  # type: ignore[import-untyped]
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROTOS = Path(__file__).resolve().parent
OUTPUT = PROTOS.parent / "libs"
PACKAGE = Path("dpucsi/api")


class CustomBuildHook(BuildHookInterface[Any]):
    """hatchling's way in: the stubs are made before the files of the wheel are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Generate, and make the wheel ask for runtimes that can load what was generated."""
        generate()
        build_data["dependencies"] = [*build_data.get("dependencies", []), *runtimes()]


def generate() -> int:
    """Replace `libs/dpucsi/api` by fresh modules and type stubs; returns the number of interface files.

    The new folder is made beside the old one and takes its place in one move. Raises RuntimeError when
    protoc refuses a file (it has printed where and why); the old folder then stays.
    """
    OUTPUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=OUTPUT, prefix=".api-") as scratch:
        sources = sorted(path.relative_to(PROTOS) for path in PROTOS.rglob("*.proto"))
        compile_protos(sources, Path(scratch))
        for folder in packages(sources):
            (Path(scratch) / folder / "__init__.py").touch()
        target = OUTPUT / PACKAGE
        if target.exists():
            target.rename(Path(scratch) / "before")
        (Path(scratch) / PACKAGE).rename(target)
    return len(sources)


def compile_protos(sources: Iterable[Path], output: Path) -> None:
    """Run protoc over `sources` (relative to `protos/`): messages, gRPC classes and the stubs of both."""
    arguments = [
        "protoc",
        *(f"-I{folder}" for folder in (PROTOS, *foreign_protos())),
        *(f"--plugin={name}={plugin(name)}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")),
        f"--python_out={output}",
        f"--grpc_python_out={output}",
        f"--mypy_out=quiet:{output}",
        # Every channel here is an asyncio one; a servicer may leave calls out, which answer UNIMPLEMENTED.
        f"--mypy_grpc_out=quiet,only_async,generate_concrete_servicer_stubs:{output}",
        *map(str, sources),
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError(f"protoc refused the interface files below {PROTOS}: its message stands above")


def foreign_protos() -> list[Path]:
    """Where `google/api/*.proto` and `google/protobuf/*.proto` lie: in the packages that ship them."""
    googleapis = distribution("googleapis-common-protos").locate_file("")
    return [Path(str(googleapis)), Path(str(files("grpc_tools"))) / "_proto"]


def plugin(name: str) -> Path:
    """The mypy-protobuf script that belongs to the package this interpreter imports.

    Asked of the package and not of PATH: under an isolated build the scripts lie in an overlay, and run by
    hand the virtual environment may not be activated.
    """
    for file in distribution("mypy-protobuf").files or []:
        if file.name == name:
            return Path(os.path.normpath(file.locate()))
    raise RuntimeError(f"mypy-protobuf is installed without its script {name}: install it again with pip")


def packages(sources: Iterable[Path]) -> set[Path]:
    """Every folder from `dpucsi/api` down to the modules: each becomes a regular package."""
    return {folder for source in sources for folder in source.parents if folder.is_relative_to(PACKAGE)}


def runtimes() -> list[str]:
    """The oldest grpcio and protobuf that load the modules generated here.

    Generated code refuses a runtime older than its generator; protobuf's floor is the generator's own.
    """
    floor = next(wanted for wanted in requires("grpcio-tools") or [] if wanted.startswith("protobuf"))
    return [f"grpcio>={version('grpcio-tools')}", floor]


if __name__ == "__main__":
    print(f"{generate()} interface files -> {OUTPUT / PACKAGE}")
