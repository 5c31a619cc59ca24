"""Servicers over a real socket with pytest-grpc: an asyncio server in a thread of its own.

pytest-grpc starts a synchronous server; a test module overrides two of its fixtures with these classes and keeps the
others (`grpc_add_to_server`, `grpc_servicer`, `grpc_channel`, `grpc_stub`).
"""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from dpucsi.rpc.server import Service, build


class AioServerThread:
    """Serves what `services` returns on a unix socket; `services` runs on the server's loop, so it may make clients.

    `call` runs a coroutine on that loop.
    """

    def __init__(self, path: Path, services: Callable[[], list[Service]]) -> None:
        self.target = f"unix:{path}"
        self._services = services
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "AioServerThread":
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=60)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        try:
            server = build(self._services())
            server.add_insecure_port(self.target)
            await server.start()
            self._stop = asyncio.Event()
        except BaseException as failure:
            self._failure = failure
            return
        finally:
            self._ready.set()
        await self._stop.wait()
        await server.stop(1.0)


def details(error: grpc.RpcError) -> str:
    """The message a call failed with; a failure without one is a failed test."""
    said = error.details()
    assert said is not None, f"{error!r} says nothing"
    return said


def create_channel(target: str) -> Callable[..., grpc.Channel]:
    """What `grpc_create_channel` has to be."""

    def create(credentials: Any = None, options: Any = None) -> grpc.Channel:
        return grpc.insecure_channel(target, options=options)

    return create
