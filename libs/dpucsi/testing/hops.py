"""How long each service took for one request: read from the services' own logs, joined by the request id."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dpucsi.testing.lab import Lab

HOPS = ("csi-controller", "csi-node-host", "csi-node-dpu", "volume-attacher", "opi-bridge")


@dataclass
class HopTime:
    """What one service did for one request: how many calls it answered, and their milliseconds together."""

    calls: int = 0
    ms: float = 0.0


def hop_times(lab: Lab) -> dict[str, dict[str, HopTime]]:
    """By request id, then by service."""
    found: dict[str, dict[str, HopTime]] = defaultdict(lambda: defaultdict(HopTime))
    for hop in HOPS:
        for line in _calls(lab, hop):
            time = found[line["request_id"]][hop]
            time.calls += 1
            time.ms += line["ms"]
    return found


def _calls(lab: Lab, hop: str) -> Iterator[dict[str, Any]]:
    for text in lab.processes[hop].log.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:  # a line of the interpreter or of gRPC's core, which is not ours
            continue
        if line.get("event") == "call":
            yield line
