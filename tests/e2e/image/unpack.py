"""An image's root from its OCI archive, as a container runtime makes it: layer over layer, each may take files away."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

# https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts
GONE = ".wh."
EMPTIED = ".wh..wh..opq"


def document(archive: tarfile.TarFile, name: str) -> Any:
    """A JSON file of the archive."""
    file = archive.extractfile(name)
    assert file is not None, f"{name} is no file of the archive"
    return json.load(file)


def blob(digest: str) -> str:
    """The path of a blob in an OCI layout."""
    return f"blobs/{digest.replace(':', '/')}"


def manifest(archive: tarfile.TarFile) -> Any:
    """The manifest of an archive's one image."""
    (entry,) = document(archive, "index.json")["manifests"]
    return document(archive, blob(entry["digest"]))


def unpack(archive_path: Path, root: Path) -> None:
    """Writes the root of the archive's one image into the new folder `root`, with owners and modes: as root."""
    root.mkdir(mode=0o755)
    with tarfile.open(archive_path) as archive:
        for layer in manifest(archive)["layers"]:
            with tarfile.open(fileobj=archive.extractfile(blob(layer["digest"]))) as content:
                add_layer(content, root)


def add_layer(content: tarfile.TarFile, root: Path) -> None:
    """Takes away what the layer marks as gone, then adds what it holds."""
    members = content.getmembers()
    for member in members:
        path = root / member.name
        if path.name == EMPTIED:
            shutil.rmtree(path.parent)
        elif path.name.startswith(GONE):
            remove(path.with_name(path.name.removeprefix(GONE)))
    for member in members:
        path = root / member.name
        if not path.name.startswith(GONE):
            if not (member.isdir() and path.is_dir() and not path.is_symlink()):
                remove(path)
            content.extract(member, root, numeric_owner=True)


def remove(path: Path) -> None:
    """Removes a file, a link, or a folder with all it holds; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
