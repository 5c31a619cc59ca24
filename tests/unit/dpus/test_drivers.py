"""Drivers without an SPDK: their options, their places, and the folder of a function."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpucsi.dpus.contract import Placement
from dpucsi.dpus.emulated import EmulatedDriver
from dpucsi.dpus.load import load_driver
from dpucsi.dpus.nvmf_tcp import NvmfTcpDriver
from dpucsi.dpus.options import split_options
from dpucsi.dpus.vfio_user import VfioUserDriver
from dpucsi.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from dpucsi.model import HostFunction
from dpucsi.spdk.address import TransportAddress

NQN = "nqn.2024-01.io.dpucsi:host:a"
PF, VF = HostFunction(0, 0), HostFunction(0, 0, 1)
FUNCTIONS = {"functions": "port0-pf0, port0-pf0-vf1"}


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dpu-") as path:
        yield Path(path)


@pytest.mark.parametrize("text", ["", "key", "key=", "=value"])
def test_malformed_option(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="key=value"):
        split_options([text])


def test_option_given_twice() -> None:
    with pytest.raises(InvalidArgumentError, match="twice"):
        split_options(["a=1", "a=2"])
    assert split_options(["a=1=2", "b=3"]) == {"a": "1=2", "b": "3"}


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        (EmulatedDriver, {}),
        (EmulatedDriver, {"card": "relative"}),
        (EmulatedDriver, {"card": "/a", "directory": "/b"}),
        (VfioUserDriver, {"card": "/a"}),
        (VfioUserDriver, {"directory": "/a", "functions": "pf0"}),
        (VfioUserDriver, {"directory": "/a", "functions": "port0-pf0,port0-pf0"}),
        (NvmfTcpDriver, {}),
        (NvmfTcpDriver, {"address": "example.org"}),
        (NvmfTcpDriver, {"address": "127.0.0.1", "base_port": "0"}),
        (NvmfTcpDriver, {"address": "127.0.0.1", "base_port": "65535", **FUNCTIONS}),
        (NvmfTcpDriver, {"address": "127.0.0.1", "hostnqn": "me"}),
    ],
)
def test_options_of_no_use(
    driver: type[EmulatedDriver | VfioUserDriver | NvmfTcpDriver], options: dict[str, str]
) -> None:
    with pytest.raises(InvalidArgumentError):
        driver.from_options(options)


def test_driver_that_is_not_installed() -> None:
    with pytest.raises(InvalidArgumentError, match="no-such-driver"):
        load_driver("no-such-driver", [])


def test_emulated_places() -> None:
    driver = EmulatedDriver.from_options({"card": "/card", **FUNCTIONS})
    assert driver.functions() == (PF, VF)
    address = driver.listen_address(Placement(NQN, function=VF))
    assert (address.trtype, address.traddr) == ("VFIOUSER", "/card/functions/port0-pf0-vf1")
    with pytest.raises(NotFoundError, match="port1-pf0"):
        driver.check(Placement(NQN, function=HostFunction(1, 0)))


def test_any_function_where_none_is_listed() -> None:
    VfioUserDriver.from_options({"directory": "/vfu"}).check(Placement(NQN, function=HostFunction(7, 7, 7)))


def test_folder_too_deep_for_a_socket() -> None:
    driver = VfioUserDriver(Path("/") / ("d" * 100))
    with pytest.raises(InvalidArgumentError, match="too long"):
        driver.check(Placement(NQN, function=PF))


def test_nvmf_tcp_places() -> None:
    driver = NvmfTcpDriver.from_options({"address": "::1", "base_port": "5000", "hostnqn": NQN, **FUNCTIONS})
    assert driver.listen_address(Placement(NQN, function=VF)) == TransportAddress("TCP", "::1", "5001", "IPv6")
    assert driver.allowed_host() == NQN
    own = TransportAddress("TCP", "192.0.2.1", "4420", "IPv4")
    assert driver.listen_address(Placement(NQN, address=own)) is own
    for nowhere in (
        Placement(NQN),
        Placement(NQN, function=PF, address=own),
        Placement(NQN, address=TransportAddress("RDMA", "192.0.2.1", "4420")),
    ):
        with pytest.raises(InvalidArgumentError):
            driver.check(nowhere)


async def test_folder_of_a_function(folder: Path) -> None:
    driver = VfioUserDriver(folder)
    address = driver.listen_address(Placement(NQN, function=PF))
    place = Path(address.traddr)
    await driver.make_room(address)
    assert place.is_dir()
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(place / "cntrl"))
    (place / "bar0").touch()
    await driver.make_room(address)
    assert list(place.iterdir()) == []
    await driver.tidy_up(address)
    assert not place.exists()


async def test_living_socket_stays(folder: Path) -> None:
    driver = VfioUserDriver(folder)
    address = driver.listen_address(Placement(NQN, function=PF))
    await driver.make_room(address)
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(f"{address.traddr}/cntrl")
        living.listen()
        with pytest.raises(FailedPreconditionError, match="cntrl"):
            await driver.make_room(address)
        await driver.tidy_up(address)
        assert Path(address.traddr, "cntrl").exists()


async def test_what_is_not_ours_stays(folder: Path) -> None:
    driver = VfioUserDriver(folder)
    address = driver.listen_address(Placement(NQN, function=PF))
    await driver.make_room(address)
    note = Path(address.traddr, "note")
    note.touch()
    await driver.tidy_up(address)
    assert note.exists()


async def test_folder_that_cannot_be_made(folder: Path) -> None:
    (folder / "file").touch()
    driver = VfioUserDriver(folder / "file")
    with pytest.raises(FailedPreconditionError, match="file"):
        await driver.make_room(driver.listen_address(Placement(NQN, function=PF)))
