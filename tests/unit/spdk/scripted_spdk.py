"""A far side over a real socket: it answers what an SPDK answers to the first questions, and then what a test says."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

Request = dict[str, Any]
VERSION = {"version": "SPDK v26.09-pre", "fields": {"major": 26, "minor": 9, "patch": 0, "suffix": "-pre"}}
METHODS = ["spdk_get_version", "rpc_get_methods", "framework_get_reactors", "echo"]


@dataclass
class Session:
    """One connection of a client."""

    writer: asyncio.StreamWriter
    requests: list[Request] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)  # how many requests each read brought: what one look takes

    def answer(self, request: Request, result: Any = True) -> None:
        self.send({"jsonrpc": "2.0", "id": request["id"], "result": result})

    def refuse(self, request: Request, code: int, message: str) -> None:
        self.send({"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": message}})

    def send(self, value: Any) -> None:
        self.raw(json.dumps(value).encode() + b"\n")

    def raw(self, data: bytes) -> None:
        self.writer.write(data)

    def close(self) -> None:
        self.writer.transport.abort()


def echo(session: Session, request: Request) -> None:
    """The plainest script: the answer is the parameters."""
    session.answer(request, request.get("params"))


@dataclass
class ScriptedSpdk:
    """Listens at a unix path, or at a TCP port (0: any) with TLS when there is a context.

    `script` gets every request that is not one of the first three questions. `pid` and `started` are what it says of
    its process; a restart is `stop`, other ones, `start`.
    """

    path: Path | None = None
    port: int = 0
    tls: ssl.SSLContext | None = None
    script: Callable[[Session, Request], Awaitable[None] | None] = echo
    pid: int = 4711
    started: float = field(default_factory=lambda: asyncio.get_running_loop().time() - 1000)
    sessions: list[Session] = field(default_factory=list)
    server: asyncio.Server | None = None
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def endpoint(self) -> str:
        scheme = "tls" if self.tls else "tcp"
        return f"unix://{self.path}" if self.path else f"{scheme}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        if self.path:
            self.server = await asyncio.start_unix_server(self._serve, self.path)
        else:
            self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
            self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self.server is not None:
            self.server.close()
            self.server = None
        for session in self.sessions:
            session.close()
        if self.path and self.path.exists():
            self.path.unlink()

    async def wait_for(self, number: int) -> list[Request]:
        """The first `number` requests of all sessions, once they are here."""
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(lambda: len(self.requests) >= number)
        return self.requests[:number]

    @property
    def requests(self) -> list[Request]:
        return [request for session in self.sessions for request in session.requests]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(writer)
        self.sessions.append(session)
        decoder = json.JSONDecoder()
        rest = ""
        try:
            while data := await reader.read(1 << 20):
                rest += data.decode()
                session.reads.append(0)
                while rest:
                    try:
                        request, end = decoder.raw_decode(rest)
                    except ValueError:
                        break
                    rest = rest[end:]
                    session.reads[-1] += 1
                    await self._take(session, request)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _take(self, session: Session, request: Request) -> None:
        now = asyncio.get_running_loop().time()
        match request["method"]:
            case "spdk_get_version":
                session.answer(request, VERSION)
            case "rpc_get_methods":
                session.answer(request, METHODS)
            case "framework_get_reactors":
                elapsed = int((now - self.started) * 1e9)
                threads = [{"name": "app_thread", "elapsed": elapsed}]
                session.answer(request, {"tick_rate": 10**9, "pid": self.pid, "reactors": [{"lw_threads": threads}]})
            case _:
                session.requests.append(request)
                async with self.changed:
                    self.changed.notify_all()
                answered = self.script(session, request)
                if answered is not None:
                    await answered
