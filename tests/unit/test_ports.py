"""The ports of tests: a case once listened at one that a connection of another test had for its own end."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dpucsi.testing.ports import BLOCK, free_port, free_ports

ASK = "from dpucsi.testing.ports import free_ports; print(*free_ports(3), flush=True); input()"


def kernels_own() -> range:
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    return range(first, last + 1)


def test_none_is_one_that_the_kernel_gives_to_who_connects() -> None:
    given = {free_port() for _ in range(3 * BLOCK)}
    assert given.isdisjoint(kernels_own())


def test_side_by_side_and_not_given_twice_in_a_row() -> None:
    first, second = free_ports(7), free_ports(7)
    assert [len(first), len(second)] == [7, 7]
    assert set(first).isdisjoint(second)


def test_port_in_use_is_passed_over() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.2", port)):
        assert port not in {free_port() for _ in range(2 * BLOCK)}
    assert port in {free_port() for _ in range(2 * BLOCK)}


@pytest.mark.parametrize("count", [BLOCK + 1, 10 * BLOCK])
def test_too_many_are_refused(count: int) -> None:
    with pytest.raises(RuntimeError, match=f"no {count} free TCP ports"):
        free_ports(count)


def test_other_processes_have_other_ports() -> None:
    others = [
        subprocess.Popen([sys.executable, "-c", ASK], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)
    ]
    try:
        theirs = [int(port) for other in others if other.stdout for port in other.stdout.readline().split()]
        mine = {free_port() for _ in range(2 * BLOCK)}
        assert len(set(theirs)) == 3 * len(others)
        assert mine.isdisjoint(theirs)
    finally:
        for other in others:
            other.communicate(b"\n")
