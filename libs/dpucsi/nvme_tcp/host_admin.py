"""What a host asks on its admin queue: properties, Identify, log pages, features."""

import asyncio
from typing import Final

from dpucsi.nvme_tcp.command import AdminOpcode, Command
from dpucsi.nvme_tcp.fabrics import (
    ENABLED,
    SHN_NORMAL,
    SHST_COMPLETE,
    WIDE,
    Capabilities,
    Configuration,
    ControllerStatus,
    Property,
    property_get,
    property_set,
)
from dpucsi.nvme_tcp.features import Feature, queue_counts, queues
from dpucsi.nvme_tcp.host_queue import HostQueue
from dpucsi.nvme_tcp.identify import IDENTIFY_SIZE, NSIDS_MAX, Cns, decode_nsids
from dpucsi.nvme_tcp.logs import LogRequest
from dpucsi.nvme_tcp.status import INTERNAL_ERROR, NvmeError

LOG_PIECE = 4096  # bytes of a log page at a time: less than any controller's limit
LOOK_S = 0.005  # between two looks at a controller that is not ready yet
KEEP_ALIVE: Final = Command(AdminOpcode.KEEP_ALIVE)
ASYNC_EVENT_REQUEST: Final = Command(AdminOpcode.ASYNC_EVENT_REQUEST)


class HostAdmin:
    """The admin queue of a controller; every method raises NvmeError or ConnectionLostError."""

    def __init__(self, queue: HostQueue) -> None:
        self._queue = queue

    async def execute(self, command: Command) -> int:
        """A command without data; dwords 0 and 1 of its completion."""
        return await self._queue.execute(command)

    async def get(self, which: Property) -> int:
        """A property's value."""
        return await self._queue.execute(property_get(which, is_wide=which in WIDE))

    async def enable(self) -> Capabilities:
        """Starts the controller; what it says that it can do."""
        capabilities = Capabilities.decode(await self.get(Property.CAP))
        await self._configure(ENABLED)
        loop = asyncio.get_running_loop()
        end = loop.time() + max(capabilities.to, 1) / 2
        while not (status := ControllerStatus.decode(await self.get(Property.CSTS))).rdy:
            if status.cfs or loop.time() > end:
                raise NvmeError(INTERNAL_ERROR, reason="the controller does not get ready")
            await asyncio.sleep(LOOK_S)
        return capabilities

    async def shut_down(self) -> None:
        """Tells the controller that we go, and returns when it has taken note; may take as long as it likes."""
        await self._configure(Configuration(en=True, shn=SHN_NORMAL, iosqes=ENABLED.iosqes, iocqes=ENABLED.iocqes))
        while ControllerStatus.decode(await self.get(Property.CSTS)).shst != SHST_COMPLETE:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)  # a property tells nobody that it has changed

    async def identify(self, cns: Cns, nsid: int = 0) -> bytearray:
        """The 4096 bytes of a data structure; of the NVM command set where it is one of a command set's."""
        found = bytearray(IDENTIFY_SIZE)
        await self._queue.execute(Command(AdminOpcode.IDENTIFY, nsid=nsid, cdw10=cns), into=found)
        return found

    async def active_nsids(self) -> list[int]:
        """All active namespaces, ascending."""
        found: list[int] = []
        while True:
            more = decode_nsids(await self.identify(Cns.ACTIVE_NAMESPACES, found[-1] if found else 0))
            found += more
            if len(more) < NSIDS_MAX:
                return found

    async def log_page(self, page: int, length: int) -> bytes:
        """Its first `length` bytes, a multiple of 4; the event that told of it is over then."""
        found = bytearray(length)
        for start in range(0, length, LOG_PIECE):
            piece = memoryview(found)[start : start + LOG_PIECE]
            is_last = start + LOG_PIECE >= length
            command = LogRequest(page, len(piece), start, retain=not is_last).command()
            await self._queue.execute(command, into=piece)
        return bytes(found)

    async def set_feature(self, feature: Feature, value: int) -> int:
        """The result of Set Features."""
        return await self._queue.execute(Command(AdminOpcode.SET_FEATURES, cdw10=feature, cdw11=value))

    async def request_queues(self, wanted: int) -> int:
        """How many I/O queues the controller grants, at most `wanted`, at least 1."""
        granted = queue_counts(await self.set_feature(Feature.NUMBER_OF_QUEUES, queues(max(wanted, 1))))
        return max(min(wanted, *granted), 1)

    async def _configure(self, wanted: Configuration) -> None:
        await self._queue.execute(property_set(Property.CC, wanted.encode()))
