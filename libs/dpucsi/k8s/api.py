"""Reading the API server: one object, a list in pages, a watch. Objects come as the JSON that they are.

The package's own generated methods would build its model classes, a few hundred KiB of work per thousand objects of
which we keep five fields each; so only its configuration, its authentication and its HTTP client are used.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient
from kubernetes.aio.config import ConfigException

from dpucsi.aio import remaining
from dpucsi.errors import DpucsiError, TimedOutError, UnavailableError
from dpucsi.k8s.errors import error_of, retry_after

Json = dict[str, Any]
REQUEST_S = 30.0
PAGE = 500  # objects a request: as client-go does, so that no answer is larger than some MB
WATCH_S = 300  # after which the server ends a watch in order; the next one goes on where it ended
SILENCE_S = 90.0  # a bookmark comes about once a minute: longer silence is a connection that nobody serves any more


class KubeApi:
    """Every method raises NotFoundError, ExpiredError, FailedPreconditionError (not allowed) or UnavailableError.

    When the server asks to be left alone for some seconds (429 or 503 with Retry-After), every request waits so long.
    """

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._quiet_until = 0.0  # loop time before which the server wants to hear nothing

    def __str__(self) -> str:
        return f"the API server at {self._client.configuration.host}"

    async def close(self) -> None:
        """Ends its connections."""
        await self._client.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """The JSON behind `path`, as of now: without a resourceVersion the API server asks etcd's quorum."""
        seconds = remaining(REQUEST_S)
        if seconds <= 0:
            raise TimedOutError(f"no time is left for GET {path}, so it was not sent")
        patience = aiohttp.ClientTimeout(total=seconds)
        async with self._request(path, query or {}, patience) as response:
            return _object(path, await response.read())

    async def pages(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Json]:
        """A list, `PAGE` objects at a time and all of one moment: that of the last page's resourceVersion."""
        token = ""
        while True:
            page = await self.get(path, {**query, "limit": str(PAGE), **({"continue": token} if token else {})})
            yield page
            token = page.get("metadata", {}).get("continue", "")
            if not token:
                return

    async def watch(self, path: str, query: Mapping[str, str], version: str) -> AsyncIterator[tuple[str, Json]]:
        """What changes from `version` on: (ADDED, MODIFIED, DELETED or BOOKMARK, object), until the server ends it."""
        asked = {
            **query,
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_S),
        }
        patience = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_S, sock_read=SILENCE_S)
        async with self._request(path, asked, patience) as response:
            while line := await response.content.readline():
                event = _object(path, line)
                kind, changed = event.get("type", ""), event.get("object", {})
                if kind == "ERROR":
                    raise error_of(f"the watch of {path}", int(changed.get("code", 500)), changed.get("message", ""))
                yield kind, changed

    @asynccontextmanager
    async def _request(
        self, path: str, query: Mapping[str, str], patience: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response with status 200, closed at the end."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._quiet_until - loop.time())
        try:
            response = await self._send(path, query, patience)
            try:
                if response.status != 200:
                    self._quiet_until = loop.time() + retry_after(response.headers)
                    body = (await response.read()).decode(errors="replace")
                    raise error_of(f"GET {path}", response.status, _message(body))
                yield response
            finally:
                # A body that was not read to its end would otherwise keep its connection.
                response.close() if not response.content.at_eof() else response.release()
        except DpucsiError:
            raise
        except (aiohttp.ClientError, ConfigException, TimeoutError, OSError, ValueError) as failed:
            # ValueError: half a line of JSON, from a server that was killed while it wrote. ConfigException: the file
            # of the token is empty, being replaced.
            raise UnavailableError(f"{self}, GET {path}: {failed or type(failed).__name__}") from failed

    async def _send(
        self, path: str, query: Mapping[str, str], patience: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "User-Agent": "dpucsi"}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
        url = f"{self._client.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        answer = await self._client.rest_client.request("GET", url, headers=headers, _request_timeout=patience)
        response: aiohttp.ClientResponse = answer.response
        return response


def _object(path: str, text: bytes) -> Json:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise UnavailableError(f"GET {path}: found JSON that is no object")
    return found


def _message(body: str) -> str:
    """Of a Status object; anything else, such as a proxy's page, as it is."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body
