"""What a target must say to a host that breaks the rules, case by case: NVMe/TCP Transport 1.0, sections 3.5 and 3.6.

A fatal error is answered by a termination request with a status (FES) and its information (FEI), here (fes, fei). Where
the specification names an error and not its status, all that a careful target may choose is listed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dpucsi.testing import raw_pdus as raw
from dpucsi.testing.raw_pdus import RawPdu

INVALID_FIELD, SEQUENCE, HEADER_DIGEST, OUT_OF_RANGE, LIMIT, UNSUPPORTED = 1, 2, 3, 4, 5, 6
KIND, FLAGS, HLEN, PDO, PLEN = 0, 1, 2, 3, 4  # offsets of common fields
PFV, HPDA = 8, 10  # of ICReq
CCCID, TTAG, DATAO, DATAL = 8, 10, 12, 16  # of H2CData

Said = frozenset[tuple[int, int]]


@dataclass(frozen=True)
class Case:
    """One PDU that is wrong in one place."""

    name: str
    pdu: RawPdu
    said: Said


def case(name: str, pdu: RawPdu, *said: tuple[int, int]) -> Case:
    return Case(name, pdu, frozenset(said))


COMMAND = raw.capsule(raw.KEEP_ALIVE, cid=77)
CARRIER = raw.write(cid=77, slba=0, data=bytes(4096))
H2C = raw.h2c_data(77, 0xFFF0, 0, bytes(4096))

# The first PDU of a connection.
FIRST = [
    case("command before ICReq", COMMAND, (SEQUENCE, 0)),
    case("data before ICReq", H2C, (SEQUENCE, 0)),
    case("ICResp from a host", raw.ic_req().but(kind=raw.IC_RESP), (INVALID_FIELD, KIND), (SEQUENCE, 0)),
    case("unknown type first", raw.ic_req().but(kind=0x3F), (INVALID_FIELD, KIND), (SEQUENCE, 0)),
    case("ICReq with HLEN 127", raw.ic_req().but(hlen=127), (INVALID_FIELD, HLEN)),
    case("ICReq with HLEN 0", raw.ic_req().but(hlen=0), (INVALID_FIELD, HLEN)),
    case("ICReq with PLEN 127", raw.ic_req().but(plen=127), (INVALID_FIELD, PLEN)),
    case("ICReq with PLEN 129", raw.ic_req().but(plen=129), (INVALID_FIELD, PLEN)),
    case("ICReq with PLEN 0", raw.ic_req().but(plen=0), (INVALID_FIELD, PLEN)),
    case("ICReq of 4 GiB", raw.ic_req().but(plen=0xFFFFFFFF), (INVALID_FIELD, PLEN)),
    case("ICReq with PFV 1", raw.ic_req(pfv=1), (INVALID_FIELD, PFV), (UNSUPPORTED, PFV)),
    case("ICReq with PFV FFFFh", raw.ic_req(pfv=0xFFFF), (INVALID_FIELD, PFV), (UNSUPPORTED, PFV)),
    case("ICReq with HPDA 32", raw.ic_req(hpda=32), (INVALID_FIELD, HPDA), (UNSUPPORTED, HPDA)),
    case("ICReq with HPDA 255", raw.ic_req(hpda=255), (INVALID_FIELD, HPDA), (UNSUPPORTED, HPDA)),
]

# Behind the initialization, without digests, on an admin queue that is connected.
LATER = [
    case("ICReq twice", raw.ic_req(), (SEQUENCE, 0)),
    *(
        case(f"type {kind:02x}h", COMMAND.but(kind=kind), (INVALID_FIELD, KIND))
        for kind in (raw.IC_RESP, raw.C2H_TERM, raw.CAPSULE_RESP, raw.C2H_DATA, 0x08, raw.R2T, 0x0A, 0x80, 0xFF)
    ),
    case("header digest flag, not agreed on", COMMAND.but(flags=raw.HDGSTF), (INVALID_FIELD, FLAGS)),
    case("data digest flag, not agreed on", CARRIER.but(flags=raw.DDGSTF), (INVALID_FIELD, FLAGS)),
    *(
        case(f"command with HLEN {hlen}", COMMAND.but(hlen=hlen), (INVALID_FIELD, HLEN))
        for hlen in (0, 8, 24, 71, 73, 255)
    ),
    *(case(f"command with PLEN {plen}", COMMAND.but(plen=plen), (INVALID_FIELD, PLEN)) for plen in (0, 7, 8, 71)),
    case("data of a command inside of its header", CARRIER.but(pdo=68), (INVALID_FIELD, PDO)),
    case("data of a command at no multiple of 4", CARRIER.but(pdo=73, plen=73 + 4096), (INVALID_FIELD, PDO)),
    case(
        "data of a command behind its end", COMMAND.but(pdo=128, plen=100), (INVALID_FIELD, PDO), (INVALID_FIELD, PLEN)
    ),
    case("command of 4 GiB", CARRIER.but(plen=0xFFFFFFFF), (INVALID_FIELD, PLEN), (LIMIT, 0)),
    case(
        "in-capsule data of 64 KiB",
        raw.write(cid=77, slba=0, data=bytes(65536)),
        *((INVALID_FIELD, PLEN), (LIMIT, 0)),
    ),
    case("data with HLEN 23", H2C.but(hlen=23), (INVALID_FIELD, HLEN)),
    case("data with HLEN 72", H2C.but(hlen=72), (INVALID_FIELD, HLEN)),
    case("data with PLEN 23", H2C.but(plen=23), (INVALID_FIELD, PLEN)),
    case("data inside of its header", H2C.but(pdo=20), (INVALID_FIELD, PDO)),
    case("data at no multiple of 4", H2C.but(pdo=26), (INVALID_FIELD, PDO)),
    case("data of 4 GiB", H2C.but(plen=0xFFFFFFFF), (INVALID_FIELD, PLEN), (LIMIT, 0)),
    case("data that nobody asked for", H2C, (INVALID_FIELD, TTAG), (INVALID_FIELD, CCCID), (SEQUENCE, 0)),
]

Make = Callable[[int, int, int, int], list[RawPdu]]  # cccid, ttag, offset and length of the R2T -> what to send


@dataclass(frozen=True)
class DataCase:
    """Data for an R2T of 16 KiB that is wrong in one place; the last PDU is the one in error."""

    name: str
    make: Make
    said: Said


def data_case(name: str, make: Make, *said: tuple[int, int]) -> DataCase:
    return DataCase(name, make, frozenset(said))


def _h2c(cid: int, ttag: int, offset: int, length: int, *, datal: int | None = None, is_last: bool = True) -> RawPdu:
    return raw.h2c_data(cid, ttag, offset, b"d" * length, length=datal, is_last=is_last)


TRANSFER = 16384
HALF = TRANSFER // 2
DATA = [
    data_case("unknown tag", lambda c, t, o, n: [_h2c(c, t ^ 0x5A5A, o, n)], (INVALID_FIELD, TTAG), (SEQUENCE, 0)),
    data_case(
        "another command's id",
        lambda c, t, o, n: [_h2c(c ^ 0x5A5A, t, o, n)],
        *((INVALID_FIELD, CCCID), (INVALID_FIELD, TTAG), (SEQUENCE, 0)),
    ),
    data_case("DATAL too small", lambda c, t, o, n: [_h2c(c, t, o, n, datal=n - 4)], (INVALID_FIELD, DATAL)),
    data_case("DATAL too large", lambda c, t, o, n: [_h2c(c, t, o, n, datal=n + 4)], (INVALID_FIELD, DATAL)),
    data_case("no data", lambda c, t, o, n: [_h2c(c, t, o, 0)], (INVALID_FIELD, PLEN), (INVALID_FIELD, DATAL)),
    data_case("beyond the end", lambda c, t, o, n: [_h2c(c, t, o, n + 4096)], (OUT_OF_RANGE, 0)),
    data_case("beyond the end, by its offset", lambda c, t, o, n: [_h2c(c, t, o + n, n)], (OUT_OF_RANGE, 0)),
    data_case("an offset of 4 GiB", lambda c, t, o, n: [_h2c(c, t, 0xFFFFF000, n)], (OUT_OF_RANGE, 0)),
    data_case(
        "second half first",
        lambda c, t, o, n: [_h2c(c, t, o + HALF, HALF)],
        *((SEQUENCE, 0), (OUT_OF_RANGE, 0), (INVALID_FIELD, DATAO)),
    ),
    data_case(
        "first half twice",
        lambda c, t, o, n: [_h2c(c, t, o, HALF, is_last=False), _h2c(c, t, o, HALF)],
        *((SEQUENCE, 0), (OUT_OF_RANGE, 0), (INVALID_FIELD, DATAO)),
    ),
    data_case(
        "LAST missing", lambda c, t, o, n: [_h2c(c, t, o, n, is_last=False)], (SEQUENCE, 0), (INVALID_FIELD, FLAGS)
    ),
    data_case("LAST too early", lambda c, t, o, n: [_h2c(c, t, o, HALF)], (SEQUENCE, 0), (INVALID_FIELD, FLAGS)),
]
