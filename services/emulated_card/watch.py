"""Being told when files come, go or are written to (inotify(7)); what happened is read from the files."""

from collections.abc import Callable
from pathlib import Path

from asyncinotify import Inotify, Mask

COMES_AND_GOES = Mask.CREATE | Mask.DELETE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.ONLYDIR
IS_WRITTEN = Mask.CLOSE_WRITE


class Watch:
    """Calls back from `run`. A callback may be called without a reason, and once for several."""

    def __init__(self) -> None:
        self._inotify = Inotify()
        self._calls: dict[int, Callable[[], None]] = {}

    def on(self, path: Path, mask: Mask, call: Callable[[], None]) -> None:
        """From now on; until `path` is deleted, or something else is there. Raises OSError."""
        self._calls[self._inotify.add_watch(path, mask).wd] = call

    async def run(self) -> None:
        """Until it is cancelled."""
        with self._inotify:
            async for event in self._inotify:
                if Mask.Q_OVERFLOW in event.mask:  # events were lost
                    for call in list(self._calls.values()):
                        call()
                    continue
                if event.watch is None:  # of a path that was deleted
                    continue
                if Mask.IGNORED in event.mask:
                    self._calls.pop(event.watch.wd, None)
                elif event.watch.wd in self._calls:
                    self._calls[event.watch.wd]()
