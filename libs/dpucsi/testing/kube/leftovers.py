"""Everything that a volume may leave behind in a lab, as one comparable value: what is left is what differs."""

import asyncio
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpucsi.aio import wait_until
from dpucsi.errors import TimedOutError
from dpucsi.testing.kube.hardware import SPDKS, STORAGES
from dpucsi.testing.kube.loops import loop_devices, loops_below, loops_of_node
from dpucsi.testing.leftovers import mounts

if TYPE_CHECKING:
    from dpucsi.testing.kube.lab import KubeLab

State = dict[str, Any]
# What SPDK counts or times, which differs from one look to the next without anything being left behind.
_VOLATILE = frozenset({"cntlid", "hostid", "num_allocated_clusters", "free_clusters"})
_METHODS = {
    "storage": ("bdev_lvol_get_lvols", "bdev_get_bdevs", "nvmf_get_subsystems"),  # these hold the allow-lists
    "spdk": ("bdev_nvme_get_controllers", "bdev_get_bdevs", "nvmf_get_subsystems"),
}
_KINDS = ("pv", "pvc", "volumeattachment")
# Which records of which service are one volume's: {file: kinds}; none named: all of them.
_HOST_RECORDS = {"csi-node-host.db": ("volume",)}
_DPU_RECORDS = {"volume-attacher.db": ("attachment",), "opi-bridge.db": ()}
COMES_S = 120.0  # a Host looks twice for what its kubelet forgot


async def snapshot(lab: "KubeLab") -> State:
    """SPDKs, OPI objects, attachment and host records, mounts, loop devices, devices on Hosts, Kubernetes' objects."""
    names = (*STORAGES, *SPDKS)
    found: State = dict(zip(names, await asyncio.gather(*(_spdk(lab, name) for name in names)), strict=True))
    for host, dpu, card in (("host-a", "dpu-a", "card-a"), ("host-b", "dpu-b", "card-b")):
        found[f"records {host}"] = _records(lab, host, _HOST_RECORDS)
        found[f"records {dpu}"] = _records(lab, dpu, _DPU_RECORDS)
        found[f"disks {host}"] = sorted(path.name for path in (lab.root / card / "sys" / "block").glob("nvme*"))
    for name, node in lab.nodes.items():
        found[f"mounts {name}"] = _volume_mounts(node.init.pid) if node.init.running else []
        found[f"folders {name}"] = _volume_folders(node.folder)
    found["mounts"] = [point for point in mounts(lab.root) if point != str(lab.network.path)]
    loops = loops_below(lab.root).union(*(loops_of_node(node.folder) for node in lab.nodes.values()))
    files = loop_devices()
    found["loop devices"] = sorted(f"{name} {files.get(name)}" for name in loops)
    return found | await _objects(lab)


async def comes_to(lab: "KubeLab", wanted: State, timeout_s: float = COMES_S) -> None:
    """Returns when nothing but `wanted` is left; AssertionError with what differs, as found and as wanted."""

    async def same() -> bool | None:
        return await snapshot(lab) == wanted or None

    try:
        await wait_until(same, "nothing left", timeout_s=timeout_s, longest_s=2.0)
    except TimedOutError as late:
        raise AssertionError(f"left behind: {json.dumps(differing(await snapshot(lab), wanted), indent=1)}") from late


def differing(found: State, wanted: State) -> State:
    """Per entry that differs, what is there and should not be, and what is missing."""
    changed: State = {}
    for key in found.keys() | wanted.keys():
        here, there = found.get(key), wanted.get(key)
        if here == there:
            continue
        if isinstance(here, dict) and isinstance(there, dict):
            changed[key] = differing(here, there)
        elif isinstance(here, list) and isinstance(there, list):
            changed[key] = {
                "found": [one for one in here if one not in there],
                "missing": [one for one in there if one not in here],
            }
        else:
            changed[key] = {"found": here, "missing": there}
    return changed


async def _spdk(lab: "KubeLab", name: str) -> State:
    methods = _METHODS[name.partition("-")[0]]
    async with lab.spdk(name) as spdk:
        answers = await asyncio.gather(*(spdk.call(method) for method in methods))
    return {method: _stable(answer) for method, answer in zip(methods, answers, strict=True)}


async def _objects(lab: "KubeLab") -> State:
    listed = await asyncio.gather(*(lab.kubectl.get(kind, namespace="*") for kind in _KINDS))
    return {
        kind: sorted(one["metadata"]["name"] for one in (found or {"items": []})["items"])
        for kind, found in zip(_KINDS, listed, strict=True)
    }


def _records(lab: "KubeLab", node: str, files: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The kind and key of each record on a Node's disk, running service or not."""
    folder = lab.nodes[node].folder / "var" / "lib" / "dpucsi"
    found = []
    for file, kinds in files.items():
        rows = _rows(folder / file) if (folder / file).exists() else []
        found += [f"{file} {kind} {key}" for kind, key in rows if not kinds or kind in kinds]
    return sorted(found)


def _rows(path: Path) -> list[tuple[str, str]]:
    """From a copy, with what is in the write-ahead log: the service holds the file for itself."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copy(f"{path}{suffix}", folder)
        with closing(sqlite3.connect(Path(folder) / path.name)) as connection:
            return list(connection.execute("SELECT kind, key FROM record"))


def _volume_mounts(pid: int) -> list[str]:
    """Mount points of CSI volumes as a process sees them."""
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    points = (line.split()[4] for line in lines)
    return sorted(point for point in points if "kubernetes.io~csi" in point or "/kubernetes.io/csi/" in point)


def _volume_folders(node: Path) -> list[str]:
    """What the kubelet keeps of its pods' CSI volumes, mounted or not.

    Not what it keeps of staged ones: a kubelet killed between NodeUnstageVolume and its own tidying never comes back to
    that folder, which is empty then. That nothing is mounted there any more, the mounts show.
    """
    kubelet = node / "var" / "lib" / "kubelet"
    found = [*kubelet.glob("pods/*/volumes/kubernetes.io~csi/*"), *kubelet.glob("pods/*/volumeDevices/*/*")]
    return sorted(str(path.relative_to(kubelet)) for path in found)


def _stable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _stable(inner) for key, inner in value.items() if key not in _VOLATILE}
    if isinstance(value, list):
        return sorted((_stable(inner) for inner in value), key=lambda entry: json.dumps(entry, sort_keys=True))
    return value
