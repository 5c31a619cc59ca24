"""The kubectl binary inside a lab's network namespace, and waiting for a state without asking again and again."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

from dpucsi.errors import TimedOutError, UnavailableError
from dpucsi.testing.kube.credentials import ADMIN, Credentials
from dpucsi.testing.kube.netns import NetworkNamespace
from dpucsi.testing.kube.tools import tool

Object = dict[str, Any]
LOOK_AGAIN_S = 5.0  # how long a watch is believed: what happened just before it began, it does not tell
AWAY_S = 0.3  # between two looks at an API server that does not answer


class Kubectl:
    """kubectl as the cluster's administrator."""

    def __init__(self, root: Path, network: NetworkNamespace, credentials: Credentials) -> None:
        environment = {
            "KUBECONFIG": credentials.kubeconfig(ADMIN),
            "KUBECACHEDIR": str(root / "kubecache"),
            **{f"HELM_{what}_HOME": str(root / "helm" / what.lower()) for what in ("CACHE", "CONFIG", "DATA")},
        }
        self._enter = network.enter("env", *(f"{name}={value}" for name, value in environment.items()))
        self.argv = [*self._enter, tool("kubectl")]

    def script(self) -> str:
        """The text of a shell script that is kubectl for this cluster."""
        return f'#!/bin/sh\nexec {" ".join(self.argv)} "$@"\n'

    async def __call__(self, *args: str, stdin: str = "") -> str:
        """What kubectl prints; UnavailableError with its words where it fails."""
        return await self.run(tool("kubectl"), *args, stdin=stdin)

    async def run(self, *argv: str, stdin: str = "") -> str:
        """What a program prints that finds this cluster as kubectl does; UnavailableError where it fails."""
        process = await asyncio.create_subprocess_exec(
            *self._enter,
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            said, complaint = await process.communicate(stdin.encode())
        finally:
            await _end(process)
        if process.returncode != 0:
            name = Path(argv[0]).name
            raise UnavailableError(f"{name} {' '.join(argv[1:])}: {complaint.decode(errors='replace').strip()}")
        return said.decode(errors="replace")

    async def get(
        self, kind: str, name: str = "", *, namespace: str = "default", selector: str = "", field_selector: str = ""
    ) -> Object | None:
        """One object, None where there is none; without a name a List of all that the selectors choose."""
        words = [word for word in (name, "--ignore-not-found" if name else "") if word]
        words += _selectors(selector, field_selector)
        text = await self("get", kind, *words, *_in(namespace), "-o", "json")
        found: Object | None = json.loads(text) if text.strip() else None
        return found

    async def apply(self, *objects: Object) -> None:
        """Makes or changes objects."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        await self("apply", "-f", "-", stdin=text)

    async def delete(self, kind: str, name: str, *, namespace: str = "default", force: bool = False) -> None:
        """Asks for the end of an object and does not wait for it; `force` does not wait for a pod's node either."""
        words = ["--force", "--grace-period=0"] if force else []
        await self("delete", kind, name, *_in(namespace), "--wait=false", "--ignore-not-found", *words)

    async def until(
        self,
        kind: str,
        name: str,
        test: Callable[[Object | None], bool],
        what: str,
        *,
        namespace: str = "default",
        timeout_s: float,
    ) -> Object:
        """The object as it was when `test` said yes ({} where it is gone); TimedOutError: `what` did not happen.

        An API server that is away is waited for.
        """
        seen: list[Object | None] = []
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    async with aclosing(self._states(kind, name, namespace)) as states:
                        async for state in states:
                            seen = [state]
                            if test(state):
                                return state or {}
        except TimeoutError:
            last = json.dumps((seen[0] or {}).get("status", {})) if seen else "nothing"
            raise TimedOutError(f"{what} did not happen within {timeout_s:g} s; last seen: {last}") from None

    async def watch(
        self, kind: str, *, namespace: str = "default", name: str = "", seconds: float
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """ADDED, MODIFIED or DELETED and the object: first all that is there, then what happens, for `seconds`."""
        process = await asyncio.create_subprocess_exec(
            *self.argv,
            *("get", kind, *_in(namespace), *([f"--field-selector=metadata.name={name}"] if name else [])),
            *("--watch", "--output-watch-events", "-o", "json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        try:
            async for event in _documents(process.stdout, seconds):
                yield event["type"], event["object"]
            if process.returncode is not None:
                await asyncio.sleep(AWAY_S)
        finally:
            await _end(process)

    async def _states(self, kind: str, name: str, namespace: str) -> AsyncGenerator[Object | None, None]:
        """An object as it is, then as it becomes, for some seconds."""
        try:
            yield await self.get(kind, name, namespace=namespace)
        except UnavailableError:
            await asyncio.sleep(AWAY_S)
            return
        async with aclosing(self.watch(kind, namespace=namespace, name=name, seconds=LOOK_AGAIN_S)) as events:
            async for what, state in events:
                yield None if what == "DELETED" else state


async def _documents(stream: asyncio.StreamReader, seconds: float) -> AsyncGenerator[Object, None]:
    """The JSON documents of a stream, one after another, until it ends or the time is over."""
    decoder, loop = json.JSONDecoder(), asyncio.get_running_loop()
    end = loop.time() + seconds
    data = b""
    while True:
        try:
            part = await asyncio.wait_for(stream.read(1 << 16), end - loop.time())
        except TimeoutError:
            return
        if not part:
            return
        data += part
        with suppress(ValueError):  # a document, or a character, that has not all come yet
            text = data.decode().lstrip()
            while text:
                document, used = decoder.raw_decode(text)
                text = text[used:].lstrip()
                data = text.encode()
                yield document


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _selectors(labels: str, fields: str) -> list[str]:
    chosen = [f"--selector={labels}"] if labels else []
    return chosen + ([f"--field-selector={fields}"] if fields else [])


def _in(namespace: str) -> list[str]:
    return ["--all-namespaces"] if namespace == "*" else ["--namespace", namespace]
