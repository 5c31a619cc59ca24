"""bdev_malloc_*."""

import errno

from spdk_emulator.bdev.bdev import MALLOC
from spdk_emulator.emulator import Emulator
from spdk_emulator.rpc.errors import refused
from spdk_emulator.rpc.params import Json, boolean, i32, may, need, takes, text, u32, u64, uuid_text
from spdk_emulator.rpc.table import method


@method(
    "bdev_malloc_create",
    takes(
        num_blocks=need(u64),
        block_size=need(u32),
        name=may(text),
        uuid=may(uuid_text),
        optimal_io_boundary=may(u32, 0),
        md_size=may(u32, 0),
        md_interleave=may(boolean, False),
        dif_type=may(i32, 0),
        dif_is_head_of_md=may(boolean, False),
        dif_pi_format=may(u32, 0),
        physical_block_size=may(u32, 0),
        numa_id=may(i32, -1),
    ),
)
def bdev_malloc_create(
    emulator: Emulator,
    *,
    num_blocks: int,
    block_size: int,
    name: str | None,
    uuid: str | None,
    md_size: int,
    dif_type: int,
    physical_block_size: int,
    **_ignored: object,
) -> Json:
    """Metadata beside the blocks is not offered: it would change the block size."""
    if md_size or dif_type or physical_block_size % 512:
        raise refused(errno.EINVAL)
    taken = [wanted for wanted in (name, uuid) if wanted]
    emulator.bdevs.check_free(*taken)
    bdev = emulator.malloc.create(name, num_blocks, block_size, uuid)
    emulator.bdevs.register(bdev)
    return bdev.name


@method("bdev_malloc_delete", takes(name=need(text)))
def bdev_malloc_delete(emulator: Emulator, *, name: str) -> Json:
    """Its bytes are gone."""
    bdev = emulator.bdevs.find(name)
    if bdev is None or bdev.kind is not MALLOC:
        raise refused(errno.ENODEV)
    emulator.bdevs.unregister(bdev)
    return True
