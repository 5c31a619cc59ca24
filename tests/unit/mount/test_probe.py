import errno
import os
import re
import struct
import subprocess
import threading
import zlib
from pathlib import Path

import pytest

from dpucsi.aio import limit
from dpucsi.errors import FailedPreconditionError, TimedOutError, UnavailableError
from dpucsi.mount.command import Ended
from dpucsi.mount.probe import REGION, Content, interpret, is_all_zeroes, probe, regions

SIZE = 64 << 20


async def test_blank(loop, blank):
    assert await probe(Path(loop(blank)), SIZE) == (await probe(Path(loop(blank)), SIZE))
    found = await probe(Path(loop(blank)), SIZE)
    assert found.readable and found.content is Content.NOTHING and str(found) == "nothing"


@pytest.mark.parametrize(
    ("make", "signature"),
    [(["mkfs.ext4", "-q"], "ext4"), (["mkswap"], "swap"), (["mkfs.ext2", "-q"], "ext2")],
)
async def test_signatures(loop, blank, make, signature):
    subprocess.run([*make, str(blank)], check=True, capture_output=True)
    found = await probe(Path(loop(blank)), SIZE)
    assert found.content is Content.FOUND and found.signature == signature and not found.partition_table


async def test_an_empty_partition_table_is_content(loop, blank):
    with blank.open("r+b") as disk:
        disk.seek(446)
        disk.write(struct.pack("<B3sB3sII", 0, b"\0\2\0", 0x83, b"\0\0\0", 2048, 4096) + bytes(48) + b"\x55\xaa")
    found = await probe(Path(loop(blank)), SIZE)
    assert found.content is Content.FOUND and found.partition_table == "dos"


async def test_the_copy_of_a_gpt_at_the_end_is_content(loop, blank):
    """The table in front was wiped; its copy in the last sector still says whose disk this is."""
    sectors = SIZE // 512
    entries = struct.pack("<16s16sQQQ72s", b"\1" * 16, b"\2" * 16, 2048, 4095, 0, b"") + bytes(127 * 128)
    fields = (b"EFI PART", 0x10000, 92, 0, 0, sectors - 1, 1, 34, sectors - 34, b"\3" * 16, sectors - 33, 128, 128)
    header = struct.pack("<8sIIIIQQQQ16sQIII", *fields, zlib.crc32(entries))
    header = header[:16] + struct.pack("<I", zlib.crc32(header)) + header[20:]
    with blank.open("r+b") as disk:
        disk.seek(446)
        disk.write(
            struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, sectors - 1) + bytes(48) + b"\x55\xaa"
        )
        disk.seek((sectors - 33) * 512)
        disk.write(entries + header)
    found = await probe(Path(loop(blank)), SIZE)
    assert found.content is Content.FOUND and found.partition_table == "gpt"


async def test_two_signatures_are_ambivalent(loop, blank, tmp_path):
    other = tmp_path / "xfs"
    with other.open("wb") as disk:
        disk.truncate(320 << 20)
    subprocess.run(["mkfs.xfs", "-q", str(other)], check=True)
    subprocess.run(["mkfs.ext4", "-q", str(blank)], check=True)
    with blank.open("r+b") as disk, other.open("rb") as xfs:
        disk.write(xfs.read(512))
    found = await probe(Path(loop(blank)), SIZE)
    assert found.content is Content.AMBIVALENT and found.readable


async def test_a_device_whose_bytes_are_gone_is_unreadable_not_blank(loop, blank):
    """blkid alone says 2 here, as it does for a blank disk; that has cost people their data."""
    device = loop(blank)
    os.truncate(blank, 4096)
    assert subprocess.run(["blkid", "-p", device], capture_output=True, check=False).returncode == 2
    found = await probe(Path(device), SIZE)
    assert not found.readable and "unreadable" in str(found)


async def test_an_error_at_the_end_alone_is_unreadable(loop, blank):
    device = loop(blank)
    os.truncate(blank, SIZE - 8192)
    assert not (await probe(Path(device), SIZE)).readable


async def test_an_error_that_comes_while_blkid_looks_is_seen_behind_it(loop, blank):
    reads = []

    def read(node, size):
        reads.append(size)
        if len(reads) == 2:
            raise OSError(errno.EIO, "Input/output error")
        return False

    found = await probe(Path(loop(blank)), SIZE, read)
    assert not found.readable and found.why == "Input/output error"


async def test_a_disk_that_does_not_answer_is_not_waited_for_and_not_asked_twice(tmp_path):
    answer = threading.Event()
    node = tmp_path / "dead"

    def hang(node, size):
        return answer.wait(30)

    with limit(0.1), pytest.raises(TimedOutError):
        await probe(node, SIZE, hang)
    with pytest.raises(UnavailableError, match="still hangs"):
        await probe(node, SIZE, lambda *_: True)
    answer.set()


@pytest.mark.parametrize(
    "ended", [Ended(4, "", "usage"), Ended(1, "", ""), Ended(-9, "", ""), Ended(127, "", ""), Ended(2, "TYPE=x", "")]
)
def test_what_blkid_never_says_is_an_error(ended):
    with pytest.raises(UnavailableError):
        interpret(Path("/dev/x"), ended)


def test_found_without_a_type_is_still_found():
    assert interpret(Path("/dev/x"), Ended(0, "DEVNAME=/dev/x\n", "")).content is Content.FOUND


async def test_a_tiny_disk_is_refused(loop, tmp_path):
    with pytest.raises(FailedPreconditionError):
        await probe(tmp_path / "x", 512)


@pytest.mark.parametrize("size", [4096, 1 << 20, (1 << 20) + 512, SIZE, (64 << 20) + 4096, 300 << 30])
def test_regions_cover_both_ends(size):
    wanted = regions(size)
    assert wanted[0][0] == 0 and wanted[1][0] + wanted[1][1] == size
    assert all(offset % 4096 == 0 and offset >= 0 and length > 0 for offset, length in wanted)
    assert all(offset + length <= size for offset, length in wanted)


@pytest.mark.parametrize("size", [SIZE, (1 << 30) + 512, 300 << 30])
def test_blkid_looks_nowhere_else_on_a_blank_disk(tmp_path, size):
    """What makes a look for zeroes as good as blkid's own: a byte that nobody read could be a signature."""
    blank = tmp_path / "blank"
    with blank.open("wb") as disk:
        disk.truncate(size)
    trace = tmp_path / "trace"
    argv = ["strace", "-P", str(blank), "-e", "trace=lseek,read,pread64", "-o", str(trace), "blkid", "-p", str(blank)]
    subprocess.run(argv, check=False)
    looks = [
        range(int(at), int(at) + int(length))
        for at, length in re.findall(r"^lseek\(.*= (\d+)\nread\(.*= (\d+)$", trace.read_text(), re.MULTILINE)
    ]
    assert len(looks) == trace.read_text().count("read") > 20
    covered = [range(offset, offset + length) for offset, length in regions(size)]
    assert [look for look in looks if not any(look[0] in part and look[-1] in part for part in covered)] == []


@pytest.mark.parametrize(
    "at", [*(start for start, _ in regions(SIZE)), REGION - 1, 1 << 20, SIZE - 3087 * 512, SIZE - 1]
)
async def test_a_single_byte_anywhere_there_is_left_to_blkid(loop, blank, at):
    with blank.open("r+b") as disk:
        disk.seek(at)
        disk.write(b"x")
    assert not is_all_zeroes(Path(loop(blank)), SIZE)
    found = await probe(Path(loop(blank)), SIZE)
    assert found.readable and found.content is Content.NOTHING


@pytest.mark.parametrize("at", [16 << 10, 1 << 20, 4 << 20])
async def test_the_second_header_of_a_luks_is_content(loop, blank, at):
    """Its first one was overwritten, and it can still be opened: LUKS2 on-disk format, section 2.1."""
    with blank.open("r+b") as disk:
        disk.seek(at)
        disk.write(struct.pack(">6sHQQ48s32s64s40s48sQ", b"SKUL\xba\xbe", 2, at, 1, *([b"\0"] * 5), at))
    found = await probe(Path(loop(blank)), SIZE)
    assert found.content is Content.FOUND and found.signature == "crypto_LUKS"


def test_reading_a_disk_of_odd_size(loop, tmp_path):
    file = tmp_path / "odd"
    with file.open("wb") as disk:
        disk.truncate((1 << 20) + 512 * 3)
    assert is_all_zeroes(Path(loop(file)), (1 << 20) + 512 * 3)
