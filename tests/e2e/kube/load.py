"""Pods that write all the time, and the proof that what they were told is durable is there."""

from dataclasses import dataclass
from datetime import datetime

from tests.e2e.kube import objects
from tests.e2e.kube.objects import shell
from tests.e2e.kube.space import Space, restarts

from dpucsi.aio import wait_until
from dpucsi.errors import UnavailableError

# One line of the file, one line on stdout: the second is said when the first is durable. The file is named after the
# node, so that a successor on another node writes one of its own. The runtime stamps every line of stdout.
_SCRIPT = """
file=/data/on-$NODE
number=0
test ! -e $file || number=$(wc -l < $file)
while :; do
  number=$((number + 1))
  echo $number >> $file
  sync -d $file
  echo $number
done
"""
_NODE_NAME = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}


def load_spec(claim: str, node: str = "") -> objects.Object:
    """A pod that writes numbered lines; it ends at the first error."""
    spec = objects.pod_spec(shell(_SCRIPT), volumes=[objects.of_claim(claim)], node=node)
    spec["containers"][0]["env"] = [_NODE_NAME]
    return spec


@dataclass(frozen=True)
class Line:
    """One acknowledged write: its number, and when its pod said so."""

    number: int
    at: datetime


async def acknowledged(space: Space, pod: str, since: int = 0) -> list[Line]:
    """All that the pod was told to be durable, numbers above `since`; needs the pod's kubelet."""
    text = str(await space.lab.kubectl("logs", pod, "-n", space.namespace, "--timestamps"))
    return [line for line in parse(text) if line.number > since]


def parse(text: str) -> list[Line]:
    """Lines of `kubectl logs --timestamps`, or of a log file of the container runtime."""
    lines = []
    for row in text.splitlines():
        stamp, *_, number = row.split()
        if number.isdigit():
            lines.append(Line(int(number), datetime.fromisoformat(stamp[:26].rstrip("Z") + "+00:00")))
    return lines


async def progress(space: Space, pod: str, count: int = 20, timeout_s: float = 90.0) -> None:
    """Returns when `count` more writes are acknowledged, without a restart of the pod in between."""
    before = await space.running(pod)
    start: int | None = None

    async def look() -> bool | None:
        nonlocal start
        try:
            last = _last(await acknowledged(space, pod))
        except UnavailableError:  # its kubelet or the API server is just coming back
            return None
        start = last if start is None else start
        return last >= start + count or None

    await wait_until(look, f"{count} more writes of pod {pod}", timeout_s=timeout_s, longest_s=1.0)
    after = await space.running(pod)
    assert restarts(after) == restarts(before), f"pod {pod} ended at an error:\n{await space.logs(pod)}"


def _last(lines: list[Line]) -> int:
    return lines[-1].number if lines else 0


async def start_load(space: Space, name: str, *, storage_class: str, node: str) -> None:
    """A claim and a pod that writes to it."""
    await space.claim(name, storage_class)
    await space.apply(objects.pod(name, load_spec(name, node)))
    await space.running(name)
    await progress(space, name, 5)


async def check_durable(space: Space, claim: str, node: str, numbers: int) -> None:
    """A pod of its own finds every acknowledged line, in order; whoever wrote must be gone."""
    script = f"head -n {numbers} /data/on-{node} | cmp - /tmp/wanted && wc -l < /data/on-{node} > /tmp/result"
    script = f"seq {numbers} > /tmp/wanted; {script}"
    await space.pod(f"{claim}-check", shell(script), claim=claim, once=True)
    assert int(await space.result(f"{claim}-check")) >= numbers
    await space.delete_pod(f"{claim}-check")
