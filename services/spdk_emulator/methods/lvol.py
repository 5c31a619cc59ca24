"""bdev_lvol_*: logical volumes. Making, resizing and deleting ends later than it starts."""

from collections.abc import Awaitable

from spdk_emulator.bdev import lvol_changes, lvol_copies
from spdk_emulator.emulator import Emulator
from spdk_emulator.rpc.params import Json, boolean, may, need, one_of, takes, text, u64
from spdk_emulator.rpc.table import method

MIB = 1 << 20
_WRAP = 1 << 64  # SPDK multiplies in 64 bits


@method(
    "bdev_lvol_create",
    takes(
        lvol_name=need(text),
        size_in_mib=need(u64),
        thin_provision=may(boolean, False),
        uuid=may(text),
        lvs_name=may(text),
        clear_method=may(one_of("none", "unmap", "write_zeroes")),
    ),
)
def bdev_lvol_create(
    emulator: Emulator,
    *,
    lvol_name: str,
    size_in_mib: int,
    thin_provision: bool,
    uuid: str | None,
    lvs_name: str | None,
    clear_method: str | None,
) -> Awaitable[Json]:
    """`uuid` is the store's; the answer is the lvol's."""
    store = emulator.stores.find(uuid, lvs_name)
    return lvol_changes.create(store, lvol_name, size_in_mib * MIB % _WRAP, is_thin=thin_provision)


@method("bdev_lvol_delete", takes(name=need(text)))
def bdev_lvol_delete(emulator: Emulator, *, name: str) -> Awaitable[Json]:
    """Under whoever uses it."""
    return lvol_changes.delete(*emulator.stores.lvol(name))


@method("bdev_lvol_resize", takes(name=need(text), size_in_mib=need(u64)))
def bdev_lvol_resize(emulator: Emulator, *, name: str, size_in_mib: int) -> Awaitable[Json]:
    """Grows and shrinks."""
    return lvol_changes.resize(*emulator.stores.lvol(name), size_in_mib * MIB % _WRAP)


@method("bdev_lvol_rename", takes(old_name=need(text), new_name=need(text)))
def bdev_lvol_rename(emulator: Emulator, *, old_name: str, new_name: str) -> Awaitable[Json]:
    """Only the name and the alias change, not the uuid."""
    return lvol_changes.rename(*emulator.stores.lvol(old_name), new_name)


@method("bdev_lvol_set_read_only", takes(name=need(text)))
def bdev_lvol_set_read_only(emulator: Emulator, *, name: str) -> Awaitable[Json]:
    """Writes fail from now on."""
    return lvol_changes.set_read_only(*emulator.stores.lvol(name))


@method("bdev_lvol_snapshot", takes(lvol_name=need(text), snapshot_name=need(text)))
def bdev_lvol_snapshot(emulator: Emulator, *, lvol_name: str, snapshot_name: str) -> Awaitable[Json]:
    """The snapshot's uuid."""
    return lvol_copies.snapshot(*emulator.stores.lvol(lvol_name), snapshot_name)


@method("bdev_lvol_clone", takes(snapshot_name=need(text), clone_name=need(text)))
def bdev_lvol_clone(emulator: Emulator, *, snapshot_name: str, clone_name: str) -> Awaitable[Json]:
    """The clone's uuid."""
    return lvol_copies.clone(*emulator.stores.lvol(snapshot_name), clone_name)


@method("bdev_lvol_inflate", takes(name=need(text)))
def bdev_lvol_inflate(emulator: Emulator, *, name: str) -> Awaitable[Json]:
    """Thick and free of its snapshot."""
    return lvol_copies.inflate(*emulator.stores.lvol(name))


@method("bdev_lvol_decouple_parent", takes(name=need(text)))
def bdev_lvol_decouple_parent(emulator: Emulator, *, name: str) -> Awaitable[Json]:
    """Free of its snapshot, and thin."""
    return lvol_copies.decouple(*emulator.stores.lvol(name))


@method("bdev_lvol_get_lvols", takes(lvs_uuid=may(text), lvs_name=may(text)))
def bdev_lvol_get_lvols(emulator: Emulator, *, lvs_uuid: str | None, lvs_name: str | None) -> Json:
    """All, or those of one store."""
    is_all = lvs_uuid is None and lvs_name is None
    stores = emulator.stores.all() if is_all else [emulator.stores.find(lvs_uuid, lvs_name)]
    return [shown for store in stores for shown in store.describe_lvols()]
