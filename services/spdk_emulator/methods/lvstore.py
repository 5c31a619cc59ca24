"""bdev_lvol_*_lvstore and bdev_lvol_get_lvstores."""

from spdk_emulator.bdev.layout import CLUSTER_DEFAULT
from spdk_emulator.emulator import Emulator
from spdk_emulator.rpc.params import Json, may, need, one_of, takes, text, u32
from spdk_emulator.rpc.table import method


@method(
    "bdev_lvol_create_lvstore",
    takes(
        bdev_name=need(text),
        lvs_name=need(text),
        cluster_sz=may(u32, 0),
        clear_method=may(one_of("none", "unmap", "write_zeroes")),
        num_md_pages_per_cluster_ratio=may(u32, 0),
        md_page_size=may(u32, 0),
    ),
)
def bdev_lvol_create_lvstore(
    emulator: Emulator,
    *,
    bdev_name: str,
    lvs_name: str,
    cluster_sz: int,
    num_md_pages_per_cluster_ratio: int,
    **_ignored: object,
) -> Json:
    """The new store's uuid."""
    ratio = num_md_pages_per_cluster_ratio or 100
    return emulator.stores.create(bdev_name, lvs_name, cluster_sz or CLUSTER_DEFAULT, ratio).uuid


@method("bdev_lvol_delete_lvstore", takes(uuid=may(text), lvs_name=may(text)))
def bdev_lvol_delete_lvstore(emulator: Emulator, *, uuid: str | None, lvs_name: str | None) -> Json:
    """With all its lvols and their bytes."""
    emulator.stores.delete(emulator.stores.find(uuid, lvs_name))
    return True


@method("bdev_lvol_get_lvstores", takes(uuid=may(text), lvs_name=may(text)))
def bdev_lvol_get_lvstores(emulator: Emulator, *, uuid: str | None, lvs_name: str | None) -> Json:
    """All, or one."""
    if uuid is None and lvs_name is None:
        return [store.describe() for store in emulator.stores.all()]
    return [emulator.stores.find(uuid, lvs_name).describe()]
