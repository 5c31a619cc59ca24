"""What the Host sees of one function: a controller and its disks, made to look like what a session offers."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from emulated_card.controller import Controller, Namespace
from emulated_card.disk import Disk
from emulated_card.plan import Fate, fate
from emulated_card.shown import ShownController, ShownNamespace
from emulated_card.site import Site
from emulated_card.watch import IS_WRITTEN

log = structlog.get_logger(__name__)
REMOVE, RESET = "remove", "reset"  # files of a PCI function in sysfs that something can be asked through


class HostSide:
    """At the PCI address `address`. `on_control` is told which of the function's files was written to."""

    def __init__(self, address: str, site: Site, on_control: Callable[[str], None]) -> None:
        self._address = address
        self._site = site
        self._on_control = on_control
        self._log = log.bind(address=address)
        self._shown: ShownController | None = None
        self._disks: dict[int, Disk] = {}

    @property
    def is_shown(self) -> bool:
        """Whether there is a controller."""
        return self._shown is not None

    def wait(self) -> None:
        """Nobody serves the disks for now."""
        for disk in self._disks.values():
            disk.wait()

    def fail(self) -> None:
        """All I/O ends with EIO from now on."""
        for disk in self._disks.values():
            disk.fail()

    async def show(self, session: Controller, *, is_overdue: bool) -> bool:
        """Makes it so; whether no disk waits for its namespace any more. `is_overdue`: what still waits is given up.

        Raises OSError or DpucsiError; the next call goes on where this one failed.
        """
        if self._shown is not None and not self._shown.is_of(session):
            await self.take_away()
        shown = self._shown or await self._add_controller(session)
        offered = dict(session.namespaces)
        for disk in list(self._disks.values()):
            await self._compare(shown, disk, offered.get(disk.namespace.nsid), session, is_overdue=is_overdue)
        for nsid in sorted(offered.keys() - self._disks.keys()):
            await self._add(shown, nsid, offered[nsid], session)
        return all(disk.is_served_by(session) for disk in self._disks.values())

    async def take_away(self) -> None:
        """Everything, from whoever uses it; fine when nothing is there."""
        shown = self._shown
        if shown is None:
            return
        for disk in list(self._disks.values()):
            await self._drop(shown, disk)
        await asyncio.to_thread(self._site.tree.remove_controller, shown)
        self._shown = None
        self._log.info("controller withdrawn", number=shown.number)

    async def _add_controller(self, session: Controller) -> ShownController:
        number, subsystem = self._site.numbers.controller()
        shown = ShownController(
            address=self._address,
            number=number,
            subsystem=subsystem,
            subnqn=session.subnqn,
            serial_number=session.serial_number,
            model_number=session.model_number,
            cntlid=session.cntlid,
        )
        try:
            await asyncio.to_thread(self._site.tree.add_controller, shown)
        except OSError:
            await asyncio.to_thread(self._site.tree.remove_controller, shown)
            raise
        self._shown = shown
        for control in (REMOVE, RESET):
            self._watch(self._site.tree.control(shown, control))
        self._log.info("controller shown", number=number)
        return shown

    def _watch(self, control: Path) -> None:
        def written() -> None:
            if _is_set(control):
                self._on_control(control.name)

        self._site.watch.on(control, IS_WRITTEN, written)

    async def _compare(
        self, shown: ShownController, disk: Disk, offered: Namespace | None, session: Controller, *, is_overdue: bool
    ) -> None:
        is_same = offered is not None and disk.namespace.is_of(disk.namespace.nsid, offered)
        is_waiting = not disk.is_served_by(session)
        match fate(is_waiting=is_waiting, is_listed=offered is not None, is_same=is_same, is_overdue=is_overdue):
            case Fate.WITHDRAW:
                await self._drop(shown, disk)
            case Fate.KEEP if offered is not None:
                if is_waiting:
                    self._log.info("disk served again", uuid=disk.namespace.uuid)
                    disk.serve_from(session)
                if disk.namespace.num_blocks != offered.num_blocks:
                    await self._resize(shown, disk, offered)

    async def _resize(self, shown: ShownController, disk: Disk, offered: Namespace) -> None:
        resized = ShownNamespace.of(disk.namespace.nsid, offered, disk.namespace.instance)
        await disk.resize(resized)
        await asyncio.to_thread(self._site.tree.resize_namespace, shown, resized)
        self._log.info("disk resized", uuid=resized.uuid, num_blocks=resized.num_blocks)

    async def _add(self, shown: ShownController, nsid: int, offered: Namespace, session: Controller) -> None:
        namespace = ShownNamespace.of(nsid, offered, self._site.numbers.instance())
        disk = Disk(namespace, session, self._site.files / f"nvme{shown.subsystem}n{namespace.instance}")
        dev = await disk.make()
        self._disks[nsid] = disk
        try:
            await asyncio.to_thread(self._site.tree.add_namespace, shown, namespace, dev)
        except OSError:
            await self._drop(shown, disk)
            raise
        self._log.info("disk shown", uuid=namespace.uuid, nsid=nsid)

    async def _drop(self, shown: ShownController, disk: Disk) -> None:
        disk.fail()
        await asyncio.to_thread(self._site.tree.remove_namespace, shown, disk.namespace)
        await disk.withdraw()
        del self._disks[disk.namespace.nsid]
        self._log.info("disk withdrawn", uuid=disk.namespace.uuid, nsid=disk.namespace.nsid)


def _is_set(control: Path) -> bool:
    """Whether a number other than 0 was written, as the kernel wants it (kstrtoul)."""
    try:
        return int(control.read_text(), 0) != 0
    except (OSError, ValueError):
        return False
