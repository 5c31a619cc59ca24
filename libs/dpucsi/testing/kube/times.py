"""How long it takes from a claim to a running pod with the volume mounted, step by step."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from dpucsi.aio import wait_until
from dpucsi.errors import TimedOutError
from dpucsi.testing.kube.kubectl import Kubectl, Object
from dpucsi.testing.kube.node import Node

WATCHES_S = 1.0  # what a kubectl needs until its watch stands
LIMIT_S = 120.0


@dataclass(frozen=True)
class Times:
    """Seconds since claim and pod were made."""

    bound: float
    attached: float
    mounted: float
    running: float


async def claim_to_running(kubectl: Kubectl, node: Node, claim: Object, pod: Object) -> Times:
    """Makes both objects, the pod on `node`, and returns when it runs; TimedOutError names the step that did not come.

    Everything is seen as it happens: by watches, and in the Node's mount table.
    """
    name, namespace = claim["metadata"]["name"], claim["metadata"].get("namespace", "default")
    before = _mounts(node)

    def is_bound(found: Object) -> bool:
        return bool(found["metadata"]["name"] == name and found["status"].get("phase") == "Bound")

    def is_attached(found: Object) -> bool:
        return bool(found["spec"]["nodeName"] == node.name and found.get("status", {}).get("attached"))

    def is_running(found: Object) -> bool:
        return bool(found["metadata"]["name"] == pod["metadata"]["name"] and found["status"]["phase"] == "Running")

    async def is_mounted() -> bool | None:
        return len(_mounts(node) - before) > 1 or None  # at the staging path, then at the pod's

    async with asyncio.TaskGroup() as group:
        known = {one["metadata"]["name"] for one in (await kubectl.get("volumeattachment") or {})["items"]}
        bound = group.create_task(_seen(kubectl, "pvc", namespace, is_bound))
        attached = group.create_task(
            _seen(
                kubectl,
                "volumeattachment",
                namespace,
                lambda it: it["metadata"]["name"] not in known and is_attached(it),
            )
        )
        running = group.create_task(_seen(kubectl, "pod", namespace, is_running))
        await asyncio.sleep(WATCHES_S)
        began = time.monotonic()
        await kubectl.apply(claim, pod)
        await wait_until(is_mounted, f"mount of {name} on {node.name}", timeout_s=LIMIT_S, longest_s=0.02)
        mounted = time.monotonic()
    return Times(*(moment - began for moment in (bound.result(), attached.result(), mounted, running.result())))


async def _seen(kubectl: Kubectl, kind: str, namespace: str, test: Callable[[Object], bool]) -> float:
    """The moment at which some object of a kind was first seen so."""
    async with aclosing(kubectl.watch(kind, namespace=namespace, seconds=LIMIT_S)) as events:
        async for what, found in events:
            if what != "DELETED" and test(found):
                return time.monotonic()
    raise TimedOutError(f"no {kind} in {namespace} came to the wanted state within {LIMIT_S:g} s")


def _mounts(node: Node) -> set[str]:
    lines = Path(f"/proc/{node.init.pid}/mountinfo").read_text().splitlines()
    points = (line.split()[4] for line in lines)
    return {point for point in points if "kubernetes.io~csi" in point or "/kubernetes.io/csi/" in point}
