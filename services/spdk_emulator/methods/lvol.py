"""bdev_lvol_*: logical volumes. Making, resizing and deleting ends later than it starts."""

from collections.abc import Awaitable

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
    return store.create(store.plan(lvol_name, size_in_mib * MIB % _WRAP, is_thin=thin_provision))


@method("bdev_lvol_delete", takes(name=need(text)))
def bdev_lvol_delete(emulator: Emulator, *, name: str) -> Awaitable[Json]:
    """Under whoever uses it."""
    store, lvol = emulator.stores.lvol(name)
    store.begin_delete(lvol)
    return store.delete(lvol)


@method("bdev_lvol_resize", takes(name=need(text), size_in_mib=need(u64)))
def bdev_lvol_resize(emulator: Emulator, *, name: str, size_in_mib: int) -> Awaitable[Json]:
    """Grows and shrinks."""
    store, lvol = emulator.stores.lvol(name)
    return store.resize(lvol, store.begin_resize(lvol, size_in_mib * MIB % _WRAP))


@method("bdev_lvol_get_lvols", takes(lvs_uuid=may(text), lvs_name=may(text)))
def bdev_lvol_get_lvols(emulator: Emulator, *, lvs_uuid: str | None, lvs_name: str | None) -> Json:
    """All, or those of one store."""
    is_all = lvs_uuid is None and lvs_name is None
    stores = emulator.stores.all() if is_all else [emulator.stores.find(lvs_uuid, lvs_name)]
    return [store.describe_lvol(lvol) for store in stores for lvol in store.lvols.values()]
