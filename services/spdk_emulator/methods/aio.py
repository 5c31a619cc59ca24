"""bdev_aio_*."""

import errno

from spdk_emulator.bdev.aio import aio_bdev
from spdk_emulator.bdev.bdev import AIO
from spdk_emulator.emulator import Emulator
from spdk_emulator.rpc.errors import refused
from spdk_emulator.rpc.params import Json, boolean, may, need, takes, text, u32, uuid_text
from spdk_emulator.rpc.table import method


@method(
    "bdev_aio_create",
    takes(
        name=need(text),
        filename=need(text),
        block_size=may(u32, 0),
        readonly=may(boolean, False),
        fallocate=may(boolean, False),
        uuid=may(uuid_text),
        nowait=may(boolean, False),
    ),
)
def bdev_aio_create(
    emulator: Emulator,
    *,
    name: str,
    filename: str,
    block_size: int,
    readonly: bool,
    fallocate: bool,
    uuid: str | None,
    nowait: bool,
) -> Json:
    """An lvol store that lies on it comes back at once."""
    emulator.bdevs.check_free(name, *([uuid] if uuid else []))
    if nowait:
        raise refused(errno.EOPNOTSUPP)
    bdev = aio_bdev(name, filename, block_size, uuid, is_read_only=readonly, fallocate=fallocate)
    emulator.bdevs.register(bdev)
    return name


@method("bdev_aio_delete", takes(name=need(text)))
def bdev_aio_delete(emulator: Emulator, *, name: str) -> Json:
    """A store on it is closed; its bytes stay."""
    bdev = emulator.bdevs.find(name)
    if bdev is None or bdev.kind is not AIO:
        raise refused(errno.ENODEV)
    emulator.bdevs.unregister(bdev)
    return True
