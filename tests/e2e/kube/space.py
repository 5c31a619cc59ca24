"""One case's namespace: its objects, what is waited for, and the proof that nothing of it is left."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.e2e.kube import objects
from tests.e2e.kube.objects import Object

from dpucsi.aio import wait_until
from dpucsi.testing.kube.lab import KubeLab

BOUND_S = 60.0
RUNNING_S = 120.0
GONE_S = 180.0


@dataclass
class Space:
    """Everything here is in `namespace`, but for what Kubernetes keeps outside of namespaces."""

    lab: KubeLab
    namespace: str

    async def apply(self, *given: Object) -> None:
        """Objects of this namespace, or of none."""
        for one in given:
            if one["kind"] not in ("StorageClass", "PersistentVolume"):
                one["metadata"]["namespace"] = self.namespace
        await self.lab.kubectl.apply(*given)

    async def claim(self, name: str, storage_class: str = "pool-a", size: str = "128Mi", **spec: Any) -> None:
        """Makes a claim."""
        await self.apply(objects.claim(name, objects.claim_spec(storage_class, size, **spec)))

    async def pod(self, name: str, command: list[str], *, claim: str = "", **spec: Any) -> None:
        """Makes a pod; `claim` is its volume unless `volumes` are given."""
        spec.setdefault("volumes", [objects.of_claim(claim or name)])
        await self.apply(objects.pod(name, objects.pod_spec(command, **spec)))

    async def get(self, kind: str, name: str) -> Object:
        """An object that must be there."""
        found = await self.lab.kubectl.get(kind, name, namespace=self.namespace)
        assert found is not None, f"no {kind} {name}"
        return dict(found)

    async def items(self, kind: str, selector: str = "") -> list[Object]:
        """All objects of a kind in this namespace, or of a kind without namespaces."""
        found = await self.lab.kubectl.get(kind, namespace=self.namespace, selector=selector)
        return list(found["items"]) if found else []

    async def until(
        self, kind: str, name: str, test: Callable[[Object | None], bool], what: str, timeout_s: float = RUNNING_S
    ) -> Object:
        """The object when `test` says so; TimedOutError with `what`."""
        found: Object = await self.lab.kubectl.until(
            kind, name, test, f"{what} of {kind} {name}", namespace=self.namespace, timeout_s=timeout_s
        )
        return found

    async def bound(self, name: str) -> str:
        """The name of the PersistentVolume, once the claim has one."""
        found = await self.until("pvc", name, phase_is("Bound"), "Bound", BOUND_S)
        return str(found["spec"]["volumeName"])

    async def running(self, name: str, timeout_s: float = RUNNING_S) -> Object:
        """The pod, once it is Running and its container runs."""
        return await self.until("pod", name, is_running, "Running", timeout_s)

    async def result(self, name: str, timeout_s: float = RUNNING_S) -> str:
        """What a pod that runs once wrote as its result; fails where it ended with an error."""
        found = await self.until("pod", name, ended, "end", timeout_s)
        state = found["status"]["containerStatuses"][0]["state"]["terminated"]
        assert state["exitCode"] == 0, f"pod {name}: {state}\n{await self.logs(name)}"
        return str(state.get("message", "")).strip()

    async def logs(self, name: str) -> str:
        """All that the pod's container said."""
        return str(await self.lab.kubectl("logs", name, "-n", self.namespace))

    async def delete_pod(self, name: str) -> None:
        """Returns when the pod is gone."""
        await self.lab.kubectl.delete("pod", name, namespace=self.namespace)
        await self.until("pod", name, is_gone, "end", GONE_S)

    async def events(self, kind: str, name: str) -> list[str]:
        """The messages of an object's events, as `kubectl describe` shows them."""
        selector = f"involvedObject.kind={kind},involvedObject.name={name}"
        found = await self.lab.kubectl.get("events", namespace=self.namespace, field_selector=selector)
        return [f"{one['reason']}: {one['message']}" for one in (found or {"items": []})["items"]]

    async def says(self, kind: str, name: str, *words: str, timeout_s: float = 60.0) -> str:
        """The event that holds all `words`, waited for."""

        async def look() -> str | None:
            told = await self.events(kind, name)
            return next((event for event in told if all(word in event for word in words)), None)

        return await wait_until(look, f"an event of {kind} {name} that says {words}", timeout_s=timeout_s)


def phase_is(phase: str) -> Callable[[Object | None], bool]:
    """Whether an object is in this phase."""
    return lambda found: found is not None and found["status"].get("phase") == phase


def is_gone(found: Object | None) -> bool:
    """Whether there is no such object."""
    return found is None


def is_running(found: Object | None) -> bool:
    """Whether all containers of a pod run."""
    statuses = found["status"].get("containerStatuses", []) if found else []
    return bool(statuses) and all("running" in one["state"] for one in statuses)


def ended(found: Object | None) -> bool:
    """Whether a pod that runs once has ended, either way."""
    return found is not None and found["status"].get("phase") in ("Succeeded", "Failed")


def restarts(found: Object) -> int:
    """How often the containers of a pod were started again."""
    return sum(int(one["restartCount"]) for one in found["status"]["containerStatuses"])


def ready_replicas(found: Object | None) -> int:
    """How many pods of a StatefulSet are ready."""
    return int(found["status"].get("readyReplicas", 0)) if found else 0
