"""Random changes of an lvol store against a plain model of it: every byte, every cluster."""

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.spdk_emulator.stores import BLOCK, CLUSTER, Plain, Storage, parts

from dpucsi.nvme_tcp.status import INTERNAL_ERROR, NvmeError
from spdk_emulator.bdev import lvol_changes, lvol_copies
from spdk_emulator.rpc.errors import RpcError

Step = tuple[str, int, int, int]  # what, which lvol, and two numbers that it makes of what it likes
WHAT = ("write", "write", "write", "write_zeroes", "unmap", "unmap", "foreign write")
CHANGES = ("create", "create thick", "snapshot", "clone", "delete", "inflate", "decouple", "resize", "reopen")


class Both:
    """The store and the model, changed together."""

    def __init__(self, folder: Path) -> None:
        self.storage = Storage(folder)
        self.total = self.storage.store.total_clusters
        self.plain: dict[str, Plain] = {}
        self.made = 0

    @property
    def free(self) -> int:
        return self.total - sum(len(plain.own) for plain in self.plain.values())

    async def step(self, what: str, which: int, first: int, second: int) -> None:
        if what.startswith("create") or not self.plain:
            return await self.create(1 + first % 5, is_thin=what != "create thick")
        if what == "reopen":
            self.storage.close()
            return self.storage.open()
        name = sorted(self.plain)[which % len(self.plain)]
        if what in WHAT:
            return await self.io(what, name, first, second)
        change: Callable[[str, Plain, int], Awaitable[None]] = getattr(self, what)
        return await change(name, self.plain[name], first)

    async def expect(self, call: Callable[[], Awaitable[Any]], *, refused: bool) -> bool:
        """True where it was done, as it should have been."""
        try:
            await call()
        except RpcError as refusal:
            assert refused, f"refused: {refusal}"
            return False
        assert not refused
        return True

    async def create(self, clusters: int, *, is_thin: bool) -> None:
        self.made += 1
        name = f"v{self.made}"
        refused = not is_thin and clusters > self.free
        if await self.expect(lambda: self.storage.create(name, clusters, is_thin=is_thin), refused=refused):
            own = {} if is_thin else {number: bytearray(CLUSTER) for number in range(clusters)}
            self.plain[name] = Plain(clusters, is_thin, own=own)

    async def snapshot(self, name: str, plain: Plain, _: int) -> None:
        self.made += 1
        taken = f"v{self.made}"
        run = self.storage.run(lvol_copies.snapshot, name, taken)
        if await self.expect(lambda: run, refused=plain.is_read_only):
            frozen = Plain(plain.clusters, plain.is_thin, plain.parent, is_read_only=True, own=plain.own)
            plain.is_thin, plain.parent, plain.own = True, frozen, {}
            self.plain[taken] = frozen

    async def clone(self, name: str, plain: Plain, _: int) -> None:
        self.made += 1
        made = f"v{self.made}"
        run = self.storage.run(lvol_copies.clone, name, made)
        if await self.expect(lambda: run, refused=not plain.is_read_only):
            self.plain[made] = Plain(plain.clusters, is_thin=True, parent=plain)

    async def delete(self, name: str, plain: Plain, _: int) -> None:
        clones = [other for other in self.plain.values() if other.parent is plain]
        if await self.expect(lambda: self.storage.run(lvol_changes.delete, name), refused=len(clones) > 1):
            for clone in clones:
                for number in plain.own.keys() - clone.own.keys():
                    if number < clone.clusters:
                        clone.own[number] = plain.own[number]
                clone.parent = plain.parent
            del self.plain[name]

    async def inflate(self, name: str, plain: Plain, _: int) -> None:
        refused = plain.is_thin and plain.clusters - len(plain.own) > self.free
        if await self.expect(lambda: self.storage.run(lvol_copies.inflate, name), refused=refused) and plain.is_thin:
            for number in range(plain.clusters):
                plain.take(number)
            plain.is_thin, plain.parent = False, None

    async def decouple(self, name: str, plain: Plain, _: int) -> None:
        parent = plain.parent
        wanted = [] if parent is None else [one for one in parent.own if one < plain.clusters and one not in plain.own]
        refused = parent is None or len(wanted) > self.free
        if await self.expect(lambda: self.storage.run(lvol_copies.decouple, name), refused=refused):
            for number in wanted:
                plain.take(number)
            plain.parent = parent.parent if parent else None

    async def resize(self, name: str, plain: Plain, first: int) -> None:
        clusters = first % 8
        refused = plain.is_read_only or (not plain.is_thin and clusters - plain.clusters > self.free)
        run = self.storage.run(lvol_changes.resize, name, clusters * CLUSTER)
        if await self.expect(lambda: run, refused=refused):
            plain.own = {number: data for number, data in plain.own.items() if number < clusters}
            if not plain.is_thin:
                plain.own |= {number: bytearray(CLUSTER) for number in range(plain.clusters, clusters)}
            plain.clusters = clusters

    async def io(self, what: str, name: str, first: int, second: int) -> None:
        plain, size = self.plain[name], self.plain[name].clusters * CLUSTER
        if not size:
            return
        unit = CLUSTER if first % 3 == 0 else BLOCK
        offset = first * unit % size
        length = min((1 + second % (3 * CLUSTER // unit)) * unit, size - offset)
        if what == "foreign write":  # straight into the file; only what has no parent reads it as it is
            if plain.parent is None and not plain.is_read_only:
                self._foreign_write(name, plain, offset, length, second)
            return
        fill = b"\0" if what != "write" else bytes([1 + second % 255])
        done = self._io_in_model(what, plain, offset, length, fill)
        io = self.storage.bdev(name).io
        try:
            if what == "write":
                await io.write(offset, fill * length)
            else:
                await getattr(io, what)(offset, length)
        except NvmeError as failed:
            assert failed.status == INTERNAL_ERROR and not failed.dnr
            assert not done
        else:
            assert done

    def _io_in_model(self, what: str, plain: Plain, offset: int, length: int, fill: bytes) -> bool:
        """Whether it succeeds; what comes before the cluster that finds no place is done."""
        if plain.is_read_only:
            return False
        for number, inside, size in parts(offset, length):
            if what == "unmap" and number in plain.own and size == CLUSTER and plain.is_thin and plain.parent is None:
                del plain.own[number]
            elif what != "unmap" and number not in plain.own and not self.free:
                return False
            elif what != "unmap" or number in plain.own:
                plain.take(number)[inside : inside + size] = fill * size
        return True

    def _foreign_write(self, name: str, plain: Plain, offset: int, length: int, second: int) -> None:
        """Into own clusters of a thick lvol, so that the figures stay what they were."""
        for number, inside, size in parts(offset, length):
            if number in plain.own:
                plain.own[number][inside : inside + size] = bytes([second % 256]) * size
                record = self.storage.lvol(name).record
                with self.storage.store.files.bytes_of(record.blob_name).open("r+b") as file:
                    file.seek(number * CLUSTER + inside)
                    file.write(bytes([second % 256]) * size)

    async def compare(self) -> None:
        assert self.storage.store.space.free == self.free
        assert {lvol.name for lvol in self.storage.store.lvols.values()} == self.plain.keys()
        names = {plain: name for name, plain in self.plain.items()}
        for name, plain in self.plain.items():
            lvol = self.storage.lvol(name)
            shown: Any = lvol.details("", "")["lvol"]
            assert shown["num_allocated_clusters"] == len(plain.own), name
            assert shown["thin_provision"] is plain.is_thin
            assert shown.get("base_snapshot") == (names[plain.parent] if plain.parent else None)
            clones = sorted(names[other] for other in self.plain.values() if other.parent is plain)
            assert sorted(shown.get("clones", [])) == clones
            assert self.storage.bdev(name).size == plain.clusters * CLUSTER
            assert await self.storage.read(name) == plain.read(), name


# Where it becomes interesting: an lvol with two snapshots below it and a clone of the older one, all with clusters.
FAMILY: list[Step] = [
    ("create", 0, 3, 0),
    ("write", 0, 0, 200),
    ("snapshot", 0, 0, 0),
    ("write", 0, 1, 9),
    ("clone", 1, 0, 0),
    ("snapshot", 0, 0, 0),
    ("write", 0, 40, 1),
]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from(WHAT), st.sampled_from(CHANGES)),
            st.integers(0, 20),
            st.integers(0, 500),
            st.integers(0, 500),
        ),
        min_size=5,
        max_size=30,
    )
)
async def test_random_changes(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        together = Both(Path(folder))
        try:
            for step in FAMILY + steps:
                await together.step(*step)
                await together.compare()
        finally:
            together.storage.close()
