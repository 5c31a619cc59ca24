"""What is on the card now, and how it becomes what is wanted. Without a loop of its own: every call blocks a little."""

from dataclasses import asdict, replace
from pathlib import Path

import structlog

from dpucsi.model import HostFunction
from spdk_emulator.card import loops
from spdk_emulator.card.addresses import pci_address
from spdk_emulator.card.record import NOT_YET, Controller, Device, Record, load, save
from spdk_emulator.card.tree import HostTree
from spdk_emulator.card.view import ControllerView, NamespaceView

log = structlog.get_logger(__name__)


class Board:
    """A folder with the record, the tree and the nodes. What an earlier process left in it waits to be wanted again."""

    def __init__(self, folder: Path) -> None:
        (folder / "functions").mkdir(parents=True, exist_ok=True)
        self._file = folder / "card.json"
        self._tree = HostTree(folder)
        self._record: Record = load(self._file)
        self._waiting: list[tuple[Controller, Device]] = []
        self._unclaimed: set[str] = set()  # functions of the earlier process that nobody has shown yet
        self._adopt()

    @property
    def waiting(self) -> int:
        """Devices and functions of an earlier process that nobody has asked for yet."""
        return len(self._waiting) + len(self._unclaimed)

    def apply(self, function: HostFunction, view: ControllerView | None) -> None:
        """Makes `function` look like `view`. Devices that wait are kept, unless `view` contradicts them."""
        controller = self._record.of(str(function))
        self._unclaimed.discard(str(function))
        if controller is not None and (view is None or not _is_same_controller(controller, view)):
            self._remove(controller)
            controller = None
        if view is None:
            return
        if controller is None:
            controller = self._add(function, view)
        wanted = {namespace.nsid: namespace for namespace in view.namespaces}
        for device in list(controller.devices):
            self._compare(controller, device, wanted.get(device.nsid))
        present = {device.nsid for device in controller.devices}
        for namespace in view.namespaces:
            if namespace.nsid not in present:
                self._add_device(controller, namespace)

    def give_up_waiting(self) -> None:
        """Withdraws what nobody asked for."""
        for controller, device in list(self._waiting):
            log.info("device withdrawn: nobody asked for it again", uuid=device.uuid, function=controller.function)
            self._remove_device(controller, device)
        for function in list(self._unclaimed):
            left = self._record.of(function)
            if left is not None:
                self._remove(left)
        self._unclaimed.clear()

    def withdraw_all(self) -> None:
        """The card is pulled."""
        for controller in list(self._record.controllers):
            self._remove(controller)

    def _adopt(self) -> None:
        if not self._record.controllers:
            self._tree.clear()
            save(self._file, self._record)
        for controller in self._record.controllers:
            self._unclaimed.add(controller.function)
            for device in list(controller.devices):
                if loops.is_over(device.loop, device.path) and self._tree.shows(controller, device):
                    self._waiting.append((controller, device))
                else:  # it was being made or withdrawn when the process ended, or its file is gone
                    self._remove_device(controller, device)

    def _add(self, function: HostFunction, view: ControllerView) -> Controller:
        controller = Controller(
            function=str(function),
            address=pci_address(function),
            number=self._record.next_controller,
            subsystem=self._record.next_subsystem,
            subnqn=view.subnqn,
            serial_number=view.serial_number,
            model_number=view.model_number,
            cntlid=view.cntlid,
        )
        self._record.next_controller += 1
        self._record.next_subsystem += 1
        self._record.controllers.append(controller)
        save(self._file, self._record)
        self._tree.add_controller(controller)
        log.info("controller shown", function=controller.function, address=controller.address)
        return controller

    def _remove(self, controller: Controller) -> None:
        for device in list(controller.devices):
            self._remove_device(controller, device)
        self._tree.remove_controller(controller)
        self._record.controllers.remove(controller)
        self._unclaimed.discard(controller.function)
        save(self._file, self._record)
        log.info("controller withdrawn", function=controller.function, address=controller.address)

    def _compare(self, controller: Controller, device: Device, wanted: NamespaceView | None) -> None:
        place = (controller, device)
        if wanted is None:
            if place not in self._waiting:
                self._remove_device(controller, device)
            return
        if not _is_same_namespace(device, wanted):
            self._remove_device(controller, device)
            return
        if place in self._waiting:
            self._waiting.remove(place)
            log.info("device kept", uuid=device.uuid, function=controller.function)
        if device.num_blocks != wanted.num_blocks:
            device.num_blocks = wanted.num_blocks
            loops.refresh_size(device.loop)
            self._tree.resize_namespace(controller, device)
            save(self._file, self._record)

    def _add_device(self, controller: Controller, wanted: NamespaceView) -> None:
        device = Device(**asdict(wanted), instance=self._record.next_instance)
        self._record.next_instance += 1
        controller.devices.append(device)
        save(self._file, self._record)  # before the loop device is there, so that a kill leaves none behind
        device.loop = loops.attach(device.path, device.block_size, is_read_only=device.is_read_only)
        save(self._file, self._record)
        self._tree.add_namespace(controller, device)
        log.info("device shown", uuid=device.uuid, nsid=device.nsid, function=controller.function, loop=device.loop)

    def _remove_device(self, controller: Controller, device: Device) -> None:
        self._tree.remove_namespace(controller, device)
        if device.loop == NOT_YET:
            for number in loops.all_over(device.path):
                loops.detach(number)
        else:
            loops.detach(device.loop)
        controller.devices.remove(device)
        self._waiting = [place for place in self._waiting if place[1] is not device]
        save(self._file, self._record)
        log.info("device withdrawn", uuid=device.uuid, nsid=device.nsid, function=controller.function)


def _is_same_controller(controller: Controller, view: ControllerView) -> bool:
    identity = (controller.subnqn, controller.serial_number, controller.model_number)
    return identity == (view.subnqn, view.serial_number, view.model_number)


def _is_same_namespace(device: Device, wanted: NamespaceView) -> bool:
    here = NamespaceView(**{name: value for name, value in asdict(device).items() if name not in ("instance", "loop")})
    return here == replace(wanted, num_blocks=device.num_blocks)
