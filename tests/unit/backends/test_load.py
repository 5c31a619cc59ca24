"""From the file of --backends to storage backends, and what is said of a wrong file."""

from pathlib import Path

import pytest

from dpucsi.backends import load, load_backends
from dpucsi.backends.lvol_settings import Settings
from dpucsi.errors import InvalidArgumentError
from dpucsi.model import TargetPath


class _Point:
    """An entry point of the name that the package declares."""

    name = "spdk-lvol"

    def load(self) -> object:
        from dpucsi.backends.spdk_lvol import SpdkLvolBackend  # noqa: PLC0415  # as late as an entry point loads

        return SpdkLvolBackend


GOOD = """
[pool-a]
type = "spdk-lvol"
rpc = "unix:///run/spdk.sock"
lvstore = "lvs0"
listeners = ["tcp://127.0.0.1:4420", "tcp://[fd00::1]:4420"]
"""


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an installed package; a checkout has no entry points."""
    monkeypatch.setattr(load, "entry_points", lambda group: [_Point()] if group == load.GROUP else [])


def write(folder: Path, text: str) -> Path:
    file = folder / "backends.toml"
    file.write_text(text)
    return file


def test_every_table_is_a_storage_backend(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD + GOOD.replace("pool-a", "pool-b"))
    assert list(load_backends(file)) == ["pool-a", "pool-b"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (GOOD, "", "has no table"),
        (GOOD, "x = [", "is not TOML"),
        (GOOD, "x = 1", "is not a table"),
        ("pool-a", "Pool_A", r"\[Pool_A\].*lower-case"),
        ('type = "spdk-lvol"', "", "has no type; installed are spdk-lvol"),
        ('"spdk-lvol"', '"nfs"', "type 'nfs'; installed are spdk-lvol"),
        ('lvstore = "lvs0"', "", r"\[pool-a\]: key 'lvstore' is missing: the name of the lvol store"),
        ('lvstore = "lvs0"', 'lvstore = ""', "lvstore is empty"),
        ('lvstore = "lvs0"', "lvstore = 7", "lvstore is 7, which has the wrong type"),
        ("lvstore", "colour", "key 'colour' is unknown; known are rpc, lvstore"),
        ("unix:///run/spdk.sock", "http://x", r"\[pool-a\]: SPDK endpoint 'http://x'"),
        ("unix:///run/spdk.sock", "tls://10.0.0.1:5260", "certificate files belong to tls://"),
        ('lvstore = "lvs0"', 'lvstore = "lvs0"\ntls_ca = "ca.pem"', "belong together"),
        ('lvstore = "lvs0"', 'lvstore = "lvs0"\nclear_method = "burn"', "clear_method: 'burn' is none of"),
        ("tcp://127.0.0.1:4420", "127.0.0.1:4420", "listeners: '127.0.0.1:4420' is not of the form"),
        ("tcp://127.0.0.1:4420", "tcp://storage:4420", "is not of the form"),
        ("tcp://127.0.0.1:4420", "tcp://127.0.0.1:99999", "is not of the form"),
        ("tcp://127.0.0.1:4420", "tcp://0.0.0.0:4420", "not an address that a DPU can connect to"),
        ("tcp://127.0.0.1:4420", "rdma://127.0.0.1:4420", "do not mix"),
        ("tcp://[fd00::1]:4420", "tcp://127.0.0.1:4420", "none twice"),
        ('["tcp://127.0.0.1:4420", "tcp://[fd00::1]:4420"]', "[]", "at least one address"),
        ('["tcp://127.0.0.1:4420", "tcp://[fd00::1]:4420"]', '"tcp://127.0.0.1:4420"', "wrong type"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    file = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(InvalidArgumentError, match=words) as refused:
        load_backends(file)
    assert str(file) in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="No such file"):
        load_backends(tmp_path / "none.toml")


def test_listeners_of_both_families() -> None:
    settings = Settings.of(
        {"rpc": "unix:///s", "lvstore": "l", "listeners": ["tcp://10.0.0.1:4420", "tcp://[fd00:0::1]:4421"]}
    )
    assert settings.listeners == (
        TargetPath("10.0.0.1", "4420", "TCP", "IPv4"),
        TargetPath("fd00::1", "4421", "TCP", "IPv6"),
    )
    assert settings.trtype == "TCP"
