"""bdev_lvol_*: lvol stores and the lvols in them.

`size_in_mib` is MiB in every release since 23.01; the older `size` in bytes is gone from the releases that we support.
"""

from dataclasses import dataclass

from dpucsi.spdk.answers import Caller, Fields, done, each, given, text


@dataclass(frozen=True)
class Lvstore:
    """One lvol store. Sizes in bytes."""

    uuid: str
    name: str
    base_bdev: str
    total_data_clusters: int
    free_clusters: int
    cluster_size: int

    @property
    def size_bytes(self) -> int:
        """What all its clusters hold."""
        return self.total_data_clusters * self.cluster_size

    @property
    def free_bytes(self) -> int:
        """What its free clusters hold; thin lvols may have promised more."""
        return self.free_clusters * self.cluster_size


@dataclass(frozen=True)
class Lvol:
    """One lvol as its store knows it. `uuid` is the name of its bdev, `alias` is `lvs/lvol`."""

    uuid: str
    name: str
    alias: str
    lvs_name: str
    is_thin_provisioned: bool
    is_snapshot: bool
    is_clone: bool
    num_allocated_clusters: int


@dataclass(frozen=True)
class LvolPart:
    """What bdev_get_bdevs says of a bdev that is an lvol. `base_snapshot` is "" for one that is no clone."""

    lvol_store_uuid: str
    thin_provision: bool
    num_allocated_clusters: int
    snapshot: bool
    clone: bool
    base_snapshot: str


async def bdev_lvol_get_lvstores(client: Caller, *, lvs_name: str | None = None) -> tuple[Lvstore, ...]:
    """All stores, or the one with this name (refused where there is none)."""
    answer = await client.call("bdev_lvol_get_lvstores", given(lvs_name=lvs_name))
    return each("bdev_lvol_get_lvstores", answer, _lvstore)


async def bdev_lvol_get_lvols(client: Caller, *, lvs_name: str | None = None) -> tuple[Lvol, ...]:
    """All lvols, or those of one store (refused where there is no such store)."""
    answer = await client.call("bdev_lvol_get_lvols", given(lvs_name=lvs_name))
    return each("bdev_lvol_get_lvols", answer, _lvol)


async def bdev_lvol_create_lvstore(
    client: Caller, *, bdev_name: str, lvs_name: str, cluster_sz: int | None = None, clear_method: str | None = None
) -> str:
    """Makes a store over a whole bdev and returns its uuid. `cluster_sz` in bytes.

    `clear_method`, for what the bdev held before: none, unmap or write_zeroes.
    """
    params = given(bdev_name=bdev_name, lvs_name=lvs_name, cluster_sz=cluster_sz, clear_method=clear_method)
    return text("bdev_lvol_create_lvstore", await client.call("bdev_lvol_create_lvstore", params))


async def bdev_lvol_create(
    client: Caller,
    *,
    lvs_name: str,
    lvol_name: str,
    size_in_mib: int,
    thin_provision: bool,
    clear_method: str | None = None,
) -> str:
    """Makes an lvol and returns the uuid that names its bdev.

    It takes a size of 0 without a word. The bdev exists when the answer is there, not when the call was sent: an
    nvmf_subsystem_add_ns sent in the same write fails.
    """
    params = given(
        lvs_name=lvs_name,
        lvol_name=lvol_name,
        size_in_mib=size_in_mib,
        thin_provision=thin_provision,
        clear_method=clear_method,
    )
    return text("bdev_lvol_create", await client.call("bdev_lvol_create", params))


async def bdev_lvol_delete(client: Caller, *, name: str) -> None:
    """Deletes an lvol, by uuid or alias, even while it is exported and connected: look before."""
    done("bdev_lvol_delete", await client.call("bdev_lvol_delete", {"name": name}))


async def bdev_lvol_resize(client: Caller, *, name: str, size_in_mib: int) -> None:
    """Gives an lvol this size. It shrinks, and grows a thin one past its store, without a word: look before."""
    done("bdev_lvol_resize", await client.call("bdev_lvol_resize", {"name": name, "size_in_mib": size_in_mib}))


def lvol_part(part: Fields) -> LvolPart:
    """Reads `driver_specific.lvol` of a bdev."""
    return LvolPart(
        lvol_store_uuid=part.text("lvol_store_uuid"),
        thin_provision=part.flag("thin_provision"),
        num_allocated_clusters=part.number("num_allocated_clusters"),
        snapshot=part.flag("snapshot"),
        clone=part.flag("clone"),
        base_snapshot=part.text("base_snapshot", ""),
    )


def _lvstore(store: Fields) -> Lvstore:
    return Lvstore(
        uuid=store.text("uuid"),
        name=store.text("name"),
        base_bdev=store.text("base_bdev"),
        total_data_clusters=store.number("total_data_clusters"),
        free_clusters=store.number("free_clusters"),
        cluster_size=store.number("cluster_size"),
    )


def _lvol(lvol: Fields) -> Lvol:
    return Lvol(
        uuid=lvol.text("uuid"),
        name=lvol.text("name"),
        alias=lvol.text("alias"),
        lvs_name=lvol.fields("lvs").text("name"),
        is_thin_provisioned=lvol.flag("is_thin_provisioned"),
        is_snapshot=lvol.flag("is_snapshot"),
        is_clone=lvol.flag("is_clone"),
        num_allocated_clusters=lvol.number("num_allocated_clusters"),
    )
