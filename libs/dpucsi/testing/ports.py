"""TCP ports for the servers of tests and labs.

Port 0 would give one out of the range from which the kernel also takes the own ports of those who connect (Linux,
ip-sysctl, ip_local_port_range). Between the choice and the bind, or while a killed server is down, any connection on
the machine may get it, and the server finds its address in use. So these lie outside that range, and every process has
a block of its own: it is held by an abstract unix socket, which belongs to a network namespace just as ports do, and
goes with the process however that ends.
"""

import errno
import socket
from functools import cache
from pathlib import Path

LOWEST, HIGHEST = 10_000, 65_535
BLOCK = 100


def free_port() -> int:
    """One port that nobody listens on now, and that no other process is given while this one lives."""
    return free_ports(1)[0]


def free_ports(count: int) -> range:
    """Ports side by side, at most `BLOCK`; RuntimeError where there are none.

    One that was given before is given again only when the rest of the block has had its turn.
    """
    return _block().give(count)


@cache
def _block() -> "_Block":
    return _Block()


class _Block:
    """What this process may give, for as long as it lives."""

    def __init__(self) -> None:
        first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
        self._holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        for start in range(LOWEST, HIGHEST - BLOCK, BLOCK):
            self._ports = range(start, start + BLOCK)
            if (self._ports[-1] < first or last < start) and self._hold(start):
                break
        else:
            raise RuntimeError(
                f"no {BLOCK} ports are left from {LOWEST} up, outside ip_local_port_range {first}-{last}"
            )
        self._next = 0

    def _hold(self, start: int) -> bool:
        try:
            self._holder.bind(f"\0dpucsi-ports-{start}")
        except OSError as failed:
            if failed.errno != errno.EADDRINUSE:
                raise
            return False
        return True

    def give(self, count: int) -> range:
        for _ in range(BLOCK):
            ports = self._ports[self._next : self._next + count]
            if len(ports) < count or not all(map(_is_free, ports)):
                self._next = (self._next + 1) % BLOCK
                continue
            self._next = (self._next + count) % BLOCK
            return ports
        raise RuntimeError(f"there are no {count} free TCP ports side by side in {self._ports}: end what listens there")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
