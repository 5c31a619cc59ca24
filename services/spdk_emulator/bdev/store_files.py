"""An lvol store on disk: beside the file of its base bdev a folder `<file>.lvs` with store.json and a file per lvol.

store.json is replaced as a whole, so a kill leaves the old or the new one. An lvol's bytes are one sparse file named by
its uuid; a file that store.json does not name was being made or deleted when the process ended, and is removed.
"""

import asyncio
import json
import os
import shutil
from pathlib import Path

from spdk_emulator.rpc.params import Json

METADATA = "store.json"


class StoreFiles:
    """The folder of one store."""

    def __init__(self, base_file: str) -> None:
        self.folder = Path(f"{base_file}.lvs")
        self._writing: asyncio.Lock = asyncio.Lock()
        self._latest: dict[str, Json] = {}
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

    async def save(self, metadata: dict[str, Json]) -> None:
        """Returns when a state not older than `metadata` is durable; many at once share one write."""
        self._changes += 1
        change, self._latest = self._changes, metadata
        async with self._writing:
            if self._saved_up_to >= change:
                return
            up_to, text = self._changes, json.dumps(self._latest)
            await asyncio.to_thread(self._write, text)
            self._saved_up_to = up_to

    def bytes_of(self, uuid: str) -> Path:
        """The file with an lvol's bytes."""
        return self.folder / uuid

    def allocate(self, uuid: str, size: int) -> None:
        """Makes the file of an lvol, or gives it another size; new bytes are zeroes."""
        with self.bytes_of(uuid).open("ab") as file:
            file.truncate(size)

    def drop(self, uuid: str) -> None:
        """Deletes an lvol's bytes. Whoever still has them open keeps them until it closes."""
        self.bytes_of(uuid).unlink(missing_ok=True)

    def tidy(self, uuids: set[str]) -> None:
        """Removes the files of lvols that do not exist."""
        for file in self.folder.iterdir():
            if file.name not in uuids and file.name != METADATA:
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
