"""What the Host sees of the card."""

from dataclasses import dataclass

from emulated_card.controller import Controller, Namespace


@dataclass(frozen=True)
class ShownController:
    """One NVMe controller on the Host: /sys/class/nvme/nvme<number>, of nvme-subsys<subsystem>."""

    address: str
    number: int
    subsystem: int
    subnqn: str
    serial_number: str
    model_number: str
    cntlid: int

    def is_of(self, controller: Controller) -> bool:
        """Whether `controller` is the same one come back."""
        here = (self.subnqn, self.serial_number, self.model_number)
        return here == (controller.subnqn, controller.serial_number, controller.model_number)


@dataclass(frozen=True)
class ShownNamespace:
    """One NVMe namespace on the Host: /dev/nvme<subsystem>n<instance>; `uuid` and `nguid` "" where it has none."""

    nsid: int
    uuid: str
    nguid: str
    block_size: int
    num_blocks: int
    is_read_only: bool
    instance: int

    @classmethod
    def of(cls, nsid: int, namespace: Namespace, instance: int) -> "ShownNamespace":
        """As it is offered now."""
        return cls(
            nsid=nsid,
            uuid=namespace.uuid,
            nguid=namespace.nguid,
            block_size=namespace.block_size,
            num_blocks=namespace.num_blocks,
            is_read_only=namespace.is_read_only,
            instance=instance,
        )

    def is_of(self, nsid: int, namespace: Namespace) -> bool:
        """Whether `namespace` is the same one come back, of whatever size."""
        other = ShownNamespace.of(nsid, namespace, self.instance)
        return (self.nsid, self.uuid, self.nguid, self.block_size, self.is_read_only) == (
            other.nsid,
            other.uuid,
            other.nguid,
            other.block_size,
            other.is_read_only,
        )
