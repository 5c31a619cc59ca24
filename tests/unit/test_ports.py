"""The ports of tests: a case once listened at one that a connection of another test had for its own end."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dpucsi.testing.ports import BLOCK, Ports, free_port, free_ports

ASK = "from dpucsi.testing.ports import free_ports; print(*free_ports(3), flush=True); input()"


@pytest.fixture
def ports() -> Iterator[Ports]:
    with closing(Ports()) as ports:
        yield ports


def whole_turn(ports: Ports) -> list[int]:
    return [ports.give(1)[0] for _ in range(BLOCK)]


def test_none_is_one_that_the_kernel_gives_to_who_connects(ports: Ports) -> None:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert set(whole_turn(ports)).isdisjoint(range(first, last + 1))


def test_none_is_given_again_soon(ports: Ports) -> None:
    """Half a block, for somebody else may listen in it."""
    given = [ports.give(1)[0] for _ in range(BLOCK // 2)]
    assert len(set(given)) == len(given)


def test_side_by_side(ports: Ports) -> None:
    first, second = ports.give(7), ports.give(7)
    assert [len(first), len(second)] == [7, 7]
    assert set(first).isdisjoint(second)


def test_port_in_use_is_passed_over(ports: Ports) -> None:
    (port,) = ports.give(1)
    with socket.create_server(("127.0.0.2", port)):
        assert port not in whole_turn(ports)
    assert port in whole_turn(ports)


@pytest.mark.parametrize("count", [BLOCK + 1, 10 * BLOCK])
def test_too_many_are_refused(ports: Ports, count: int) -> None:
    with pytest.raises(RuntimeError, match=f"no {count} free TCP ports"):
        ports.give(count)


def test_two_have_nothing_in_common(ports: Ports) -> None:
    with closing(Ports()) as other:
        assert set(whole_turn(other)).isdisjoint(whole_turn(ports))


def test_other_processes_have_other_ports() -> None:
    others = [
        subprocess.Popen([sys.executable, "-c", ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)
    ]
    try:
        theirs = [int(port) for other in others if other.stdout for port in other.stdout.readline().split()]
        assert len({*theirs, free_port(), *free_ports(2)}) == 3 * len(others) + 3
    finally:
        for other in others:
            other.communicate(b"\n")
