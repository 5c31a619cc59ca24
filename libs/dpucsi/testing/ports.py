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
BLOCK = 500


class Ports:
    """One block, held until `close` or the end of the process. Raises RuntimeError when all blocks are held."""

    def __init__(self) -> None:
        first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
        self._holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._next = 0
        for start in range(LOWEST, HIGHEST - BLOCK, BLOCK):
            self._ports = range(start, start + BLOCK)
            if (self._ports[-1] < first or last < start) and self._hold(start):
                return
        self.close()
        raise RuntimeError(f"no {BLOCK} ports are left from {LOWEST} up, outside ip_local_port_range {first}-{last}")

    def _hold(self, start: int) -> bool:
        try:
            self._holder.bind(f"\0dpucsi-ports-{start}")
        except OSError as failed:
            if failed.errno != errno.EADDRINUSE:
                raise
            return False
        return True

    def give(self, count: int) -> range:
        """Ports side by side, at most `BLOCK`, that nobody listens at now; RuntimeError where there are none.

        One that was given before is given again when the rest of the block has had its turn, so who keeps one for
        longer than a test should listen at it.
        """
        for _ in range(BLOCK):
            ports = self._ports[self._next : self._next + count]
            if len(ports) == count and all(map(_is_free, ports)):
                self._next = (self._next + count) % BLOCK
                return ports
            self._next = (self._next + 1) % BLOCK
        raise RuntimeError(f"there are no {count} free TCP ports side by side in {self._ports}: end what listens there")

    def close(self) -> None:
        """Others may take the block."""
        self._holder.close()


_own = cache(Ports)


def free_ports(count: int) -> range:
    """Ports side by side out of this process's block."""
    return _own().give(count)


def free_port() -> int:
    """One port out of this process's block."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
