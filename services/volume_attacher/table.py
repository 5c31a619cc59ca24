"""All attachments of this DPU: in memory for decisions, on the disk before anything is done about them."""

import asyncio
from dataclasses import replace
from uuid import UUID

from dpucsi.errors import DpucsiError
from dpucsi.store import Records
from volume_attacher.boots import Boots, after_reboot
from volume_attacher.record import Record, State
from volume_attacher.slots import Slot

ATTACHMENT, HOST, BOOTS = "attachment", "host", "boots"


class Table:
    """The records by volume uuid. A change of memory happens at once, so that no slot is given out twice."""

    def __init__(self, store: Records) -> None:
        self._store = store
        loaded = (Record.from_bytes(value) for value in store.load(ATTACHMENT).values())
        self._records = {record.spec.uuid: record for record in loaded}
        boots = store.load(HOST).get(BOOTS)
        self._boots = Boots.from_bytes(boots) if boots else Boots()
        self._rebooting = asyncio.Lock()

    def get(self, uuid: UUID) -> Record | None:
        """The record of one volume."""
        return self._records.get(uuid)

    def all(self) -> list[Record]:
        """Every record, in the order of uuids."""
        return [self._records[uuid] for uuid in sorted(self._records)]

    def taken(self) -> set[Slot]:
        """The slots that are not free, whatever the state of their records."""
        return {record.slot for record in self._records.values()}

    def reserve(self, record: Record) -> None:
        """A new attachment, in memory. At once, with no await since its slot was chosen: nobody else gets that slot."""
        self._records[record.spec.uuid] = record

    async def commit(self, record: Record) -> None:
        """Makes the new attachment durable; its slot is free again if the disk refuses."""
        try:
            await self._store.put(ATTACHMENT, str(record.spec.uuid), record.to_bytes())
        except DpucsiError:
            del self._records[record.spec.uuid]
            raise

    async def write(self, record: Record) -> None:
        """Another intent for an attachment that exists, durably."""
        await self._store.put(ATTACHMENT, str(record.spec.uuid), record.to_bytes())
        self._records[record.spec.uuid] = record

    def note_attached(self, uuid: UUID) -> None:
        """This process has seen it done; nothing to write, see State."""
        record = self._records.get(uuid)
        if record is not None and record.state is State.ATTACHING:
            self._records[uuid] = replace(record, state=State.ATTACHED)

    async def note_detached(self, uuid: UUID) -> None:
        """Everything is removed; its slot waits for the Host's word. Durable: the next boot of the Host confirms it."""
        record = self._records.get(uuid)
        if record is not None and record.state is State.DETACHING:
            await self.write(replace(record, state=State.UNCONFIRMED))

    async def erase(self, uuid: UUID) -> None:
        """Forgets an attachment, durably; only then is its slot free."""
        await self._store.remove(ATTACHMENT, str(uuid))
        self._records.pop(uuid, None)

    async def see_boot(self, boot_id: str) -> None:
        """A call came from this boot of the Host; a new one confirms every slot that waited. One commit a reboot."""
        async with self._rebooting:
            boots = self._boots.seen(boot_id)
            if boots == self._boots:
                return
            before = dict(self._records)
            after = {uuid: after_reboot(record, boot_id) for uuid, record in before.items()}
            changed = {uuid: record for uuid, record in after.items() if record != before[uuid]}
            await self._store.apply(
                [
                    (HOST, BOOTS, boots.to_bytes()),
                    *(
                        (ATTACHMENT, str(uuid), record.to_bytes() if record else None)
                        for uuid, record in changed.items()
                    ),
                ]
            )
            self._boots = boots
            for uuid, record in changed.items():
                if record is None:
                    self._records.pop(uuid, None)
                else:
                    self._records[uuid] = record
