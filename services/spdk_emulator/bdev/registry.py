"""All bdevs by name, and who wants to know when one comes, goes or grows."""

import errno
from collections.abc import Callable, Iterator

from spdk_emulator.bdev.bdev import Bdev
from spdk_emulator.notify import Notifications
from spdk_emulator.rpc.errors import refused

Listener = Callable[[Bdev], None]


class Bdevs:
    """Listeners are called at once, in the order in which they were added."""

    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications
        self._by_name: dict[str, Bdev] = {}
        self.on_registered: list[Listener] = []
        self.on_removed: list[Listener] = []
        self.on_resized: list[Listener] = []

    def __iter__(self) -> Iterator[Bdev]:
        return iter(list(self._by_name.values()))

    def find(self, name: str) -> Bdev | None:
        """By name, alias or uuid."""
        exact = self._by_name.get(name)
        return exact or next((bdev for bdev in self._by_name.values() if bdev.answers_to(name)), None)

    def check_free(self, *names: str) -> None:
        """Raises "File exists" where a bdev has one of these names already."""
        if any(self.find(name) for name in names):
            raise refused(errno.EEXIST)

    def register(self, bdev: Bdev) -> None:
        """Adds a bdev; whoever examines bdevs does it now."""
        self.check_free(bdev.name, bdev.uuid, *bdev.aliases)
        self._by_name[bdev.name] = bdev
        self._notifications.add("bdev_register", bdev.name)
        for listener in self.on_registered:
            listener(bdev)

    def unregister(self, bdev: Bdev) -> None:
        """Removes a bdev; what stands on it falls. Fine when it is gone already."""
        if self._by_name.get(bdev.name) is not bdev:
            return
        for listener in self.on_removed:
            listener(bdev)
        del self._by_name[bdev.name]
        self._notifications.add("bdev_unregister", bdev.name)
        bdev.counted.retire(bdev.close)

    def resize(self, bdev: Bdev, num_blocks: int) -> None:
        """Gives a bdev another size."""
        if bdev.num_blocks == num_blocks:
            return
        bdev.num_blocks = num_blocks
        self._notifications.add("bdev_resize", bdev.name)
        for listener in self.on_resized:
            listener(bdev)
