"""Writes numbered blocks to random places of one file, each made durable before it is acknowledged on stdout.

    python -m dpucsi.testing.writer /mnt/volume/ledger --slots 256

A process of its own: a write that hangs on a dead disk cannot be interrupted, and must not take its caller with it.
Lines: `A <slot> <number>` an acknowledged write, `E <errno>` the first error, after which it ends with exit code 1.
"""

import argparse
import os
import random
import sys
import zlib
from pathlib import Path

BLOCK = 4096
_HEADER = 20  # bytes of "slot number" in ASCII digits, padded


def block(slot: int, number: int) -> bytes:
    """The content of one block: its slot and number, a body that depends on both, and a checksum."""
    head = f"{slot:09d} {number:09d} ".encode()
    body = random.Random(head).randbytes(BLOCK - _HEADER - 4)
    return head + body + zlib.crc32(head + body).to_bytes(4, "little")


def read_number(slot: int, data: bytes) -> int | None:
    """The number of a block that `block` made; 0 for one that was never written, None for a torn or foreign one."""
    if not any(data):
        return 0
    if zlib.crc32(data[:-4]).to_bytes(4, "little") != data[-4:] or int(data[:9]) != slot:
        return None
    return int(data[10:19])


def write(path: Path, slots: int) -> int:
    """Goes on until SIGTERM or an error; returns the exit code."""
    choose = random.Random(0)
    number = 0
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(file, slots * BLOCK)
        os.fsync(file)
        while True:
            slot, number = choose.randrange(slots), number + 1
            os.pwrite(file, block(slot, number), slot * BLOCK)
            os.fdatasync(file)
            sys.stdout.write(f"A {slot} {number}\n")
            sys.stdout.flush()
    except OSError as error:
        sys.stdout.write(f"E {error.errno}\n")
        return 1


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("path", type=Path, help="the file, made if it is not there")
    parser.add_argument("--slots", type=int, default=256, help=f"blocks of {BLOCK} bytes in it (default: 256)")
    chosen = parser.parse_args()
    return write(chosen.path, chosen.slots)


if __name__ == "__main__":
    sys.exit(main())
