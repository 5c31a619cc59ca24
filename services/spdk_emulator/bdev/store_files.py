"""An lvol store on disk: a folder with store.json, and for each blob a sparse file and a map of its own clusters.

store.json is replaced as a whole, so a kill leaves the old or the new one: that moment is when a change of the store
happens. A file that it does not name was being made or deleted when the process ended, and is removed.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from spdk_emulator.rpc.params import Json

METADATA = "store.json"


class StoreFiles:
    """The folder of one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writing: asyncio.Lock = asyncio.Lock()
        self._saved_up_to = 0
        self._changes = 0

    def load(self) -> dict[str, Json] | None:
        """What was saved last; None where there is no store."""
        try:
            saved: dict[str, Json] = json.loads((self.folder / METADATA).read_text())
        except FileNotFoundError:
            return None
        return saved

    def make(self, metadata: dict[str, Json]) -> None:
        """A new, empty store; what an unfinished one left is removed."""
        self.remove()
        self.folder.mkdir(parents=True)
        self._write(json.dumps(metadata))

    def remove(self) -> None:
        """Deletes the store with all bytes."""
        (self.folder / METADATA).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def save(self, metadata: Callable[[], dict[str, Json]]) -> None:
        """Returns when a state not older than this call is durable; many at once share one write. Raises OSError."""
        self._changes += 1
        change = self._changes
        async with self._writing:
            if self._saved_up_to >= change:
                return
            up_to, text = self._changes, json.dumps(metadata())
            await asyncio.to_thread(self._write, text)
            self._saved_up_to = up_to

    def bytes_of(self, blob: str) -> Path:
        """The file with a blob's bytes."""
        return self.folder / blob

    def map_of(self, blob: str) -> Path:
        """The file with one byte per cluster; absent while none is the blob's own."""
        return self.folder / f"{blob}.map"

    def create(self, blob: str, size: int) -> None:
        """Makes the file of an empty blob. Raises OSError."""
        with self.bytes_of(blob).open("ab") as file:
            file.truncate(size)

    def drop(self, blob: str) -> None:
        """Deletes a blob's bytes. Whoever still has them open keeps them until it closes."""
        self.bytes_of(blob).unlink(missing_ok=True)
        self.map_of(blob).unlink(missing_ok=True)

    def tidy(self, blobs: set[str]) -> None:
        """Removes the files of blobs that do not exist."""
        for file in self.folder.iterdir():
            if file.name.removesuffix(".map") not in blobs and file.name != METADATA:
                file.unlink()

    def _write(self, text: str) -> None:
        aside = self.folder / f"{METADATA}.new"
        with aside.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.folder / METADATA)
        folder = os.open(self.folder, os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
