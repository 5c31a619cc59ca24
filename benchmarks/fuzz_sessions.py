"""What the fuzzer plays: valid sessions as lists of steps, each one PDU and what should come back."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from dpucsi.testing import raw_pdus as raw
from dpucsi.testing.raw_pdus import RawPdu
from dpucsi.testing.raw_target import BLOCK_SIZE, HOSTNQN, NUM_BLOCKS, SUBNQN

TRANSFER = 16 * BLOCK_SIZE
GET_LOG, GET_FEATURES, SET_FEATURES, ABORT = 0x02, 0x0A, 0x09, 0x08
COMPARE, WRITE_ZEROES, DATASET = 0x05, 0x08, 0x09


@dataclass
class State:
    """What the steps of one session learn: the transfer tag of an R2T, the controller that it joins."""

    chance: random.Random
    cntlid: int = 0xFFFF
    qid: int = 0
    digests: int = 0
    ttag: int = 0
    cid: int = 0
    blocks: int = field(default=NUM_BLOCKS - TRANSFER // BLOCK_SIZE)

    def next_cid(self) -> int:
        self.cid += 1
        return self.cid

    def slba(self) -> int:
        return self.chance.randrange(self.blocks)


@dataclass(frozen=True)
class Step:
    """`answer`: "icresp", "response" (with or without data before it), "r2t", or "" where none comes."""

    make: Callable[[State], RawPdu]
    answer: str = "response"


def _connect(state: State) -> RawPdu:
    return raw.connect(cid=state.next_cid(), subnqn=SUBNQN, hostnqn=HOSTNQN, qid=state.qid, cntlid=state.cntlid)


def _admin(opcode: int, *cdws: int, length: int = 0, nsid: int = 0) -> Step:
    return Step(lambda state: raw.capsule(opcode, cid=state.next_cid(), nsid=nsid, cdws=cdws, length=length))


def _io(opcode: int, length: int = 0, data: bytes = b"") -> Step:
    blocks = max(1, (length or len(data)) // BLOCK_SIZE)

    def make(state: State) -> RawPdu:
        cdws = (state.slba(), 0, blocks - 1)
        return raw.capsule(opcode, cid=state.next_cid(), nsid=1, cdws=cdws, length=length, data=data)

    return Step(make)


def _half(number: int) -> Callable[[State], RawPdu]:
    half = bytes([number]) * (TRANSFER // 2)
    return lambda state: raw.h2c_data(state.cid, state.ttag, number * len(half), half, is_last=bool(number))


BEGIN = (Step(lambda state: raw.ic_req(digests=state.digests), "icresp"), Step(_connect))
ADMIN = (
    *BEGIN,
    Step(lambda state: raw.property_set(cid=state.next_cid(), offset=0x14, value=0x0046_0001)),
    _admin(raw.IDENTIFY, 0x01, length=4096),
    _admin(raw.IDENTIFY, 0x00, length=4096, nsid=1),
    _admin(raw.IDENTIFY, 0x02, length=4096),
    _admin(raw.IDENTIFY, 0x03, length=4096, nsid=1),
    _admin(GET_LOG, 0x02 | 127 << 16, length=512, nsid=0xFFFFFFFF),
    _admin(GET_LOG, 0x0C | 31 << 16, length=128),
    _admin(SET_FEATURES, 0x07, 3 | 3 << 16),
    _admin(SET_FEATURES, 0x0B, 0x900),
    _admin(GET_FEATURES, 0x0F),
    Step(lambda state: raw.capsule(raw.ASYNC_EVENT, cid=state.next_cid()), ""),
    _admin(ABORT, 0 | 3 << 16),
    _admin(raw.KEEP_ALIVE),
    Step(lambda state: raw.capsule(raw.FABRICS, cid=state.next_cid(), nsid=raw.PROPERTY_GET, cdws=(1, 0))),
)
IO = (
    *BEGIN,
    _io(raw.WRITE, data=b"i" * BLOCK_SIZE),
    _io(raw.READ, length=TRANSFER),
    Step(lambda state: raw.write(cid=state.next_cid(), slba=state.slba(), length=TRANSFER), "r2t"),
    Step(_half(0), ""),
    Step(_half(1)),
    _io(raw.FLUSH),
    _io(WRITE_ZEROES, length=0),
    Step(
        lambda state: raw.capsule(
            DATASET, cid=state.next_cid(), nsid=1, cdws=(0, 4), data=bytes(4) + (8).to_bytes(4, "little") + bytes(8)
        )
    ),
    _io(COMPARE, data=bytes(BLOCK_SIZE)),
    _io(raw.READ, length=BLOCK_SIZE),
)
