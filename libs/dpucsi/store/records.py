"""Records that are on the disk before the call that wrote them returns.

A record is (kind, key) -> bytes. The file is SQLite in WAL mode with synchronous=FULL: a commit is one fsync, which
is most of its price, so writes that arrive while one commit is under way share the next one.
"""

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dpucsi.errors import FailedPreconditionError

SCHEMA_VERSION = 1
Change = tuple[str, str, bytes | None]  # kind, key, value; None removes


class Records:
    """One service's records. Made by `open`; `put` and `remove` return when the change is durable."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="records")
        self._waiting: list[tuple[list[Change], asyncio.Future[None]]] = []
        self._flush: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, path: Path) -> "Records":
        """Opens or makes the file (mode 0600, in a folder of mode 0700). Blocks: call it before serving.

        Raises FailedPreconditionError where the file is in use by another process or is not ours.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=1.0)
        try:
            # One process owns the file for as long as it lives: two attachers on one state would fight over slots.
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            _migrate(connection, path)
        except sqlite3.DatabaseError as broken:
            connection.close()
            raise FailedPreconditionError(
                f"the state file {path} cannot be used ({broken}); is another process of this service running on it, "
                "or is it not a state file of this service?"
            ) from broken
        return cls(connection)

    def load(self, kind: str) -> dict[str, bytes]:
        """All records of one kind by key. Blocks: call it before serving."""
        rows = self._connection.execute("SELECT key, value FROM record WHERE kind = ? ORDER BY key", (kind,))
        return dict(rows.fetchall())

    async def put(self, kind: str, key: str, value: bytes) -> None:
        """Writes one record, durably."""
        await self.apply([(kind, key, value)])

    async def remove(self, kind: str, key: str) -> None:
        """Removes one record, durably; an absent one is fine."""
        await self.apply([(kind, key, None)])

    async def apply(self, changes: list[Change]) -> None:
        """Makes all `changes` or none, durably. A cancelled caller does not stop them."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((changes, done))
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._commit_all())
        await asyncio.shield(done)

    async def _commit_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                await loop.run_in_executor(
                    self._writer, self._commit, [change for changes, _ in batch for change in changes]
                )
            except sqlite3.Error as failed:
                error = FailedPreconditionError(
                    f"the state file could not be written: {failed}; is its disk full or broken?"
                )
                _settle([done for _, done in batch], error)
            else:
                _settle([done for _, done in batch], None)

    def _commit(self, changes: list[Change]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for kind, key, value in changes:
                if value is None:
                    self._connection.execute("DELETE FROM record WHERE kind = ? AND key = ?", (kind, key))
                else:
                    self._connection.execute("INSERT OR REPLACE INTO record VALUES (?, ?, ?)", (kind, key, value))
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    async def close(self) -> None:
        """Ends after the last write."""
        if self._flush is not None:
            await self._flush
        self._writer.shutdown(wait=True)
        self._connection.close()


def _settle(waiting: list["asyncio.Future[None]"], error: Exception | None) -> None:
    for done in waiting:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.execute("BEGIN")
        connection.execute(
            "CREATE TABLE record (kind TEXT, key TEXT, value BLOB, PRIMARY KEY (kind, key)) WITHOUT ROWID"
        )
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    elif version != SCHEMA_VERSION:
        raise FailedPreconditionError(
            f"the state file {path} has version {version}, this program knows {SCHEMA_VERSION}; run its release"
        )
