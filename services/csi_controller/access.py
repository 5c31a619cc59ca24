"""Who may have a volume: the access modes on offer, and the decision at ControllerPublishVolume. No I/O."""

from collections.abc import Callable
from uuid import UUID

from dpucsi import naming
from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.backends import Volume
from dpucsi.csi.capabilities import Access
from dpucsi.errors import FailedPreconditionError, InvalidArgumentError, UnavailableError

_MODES = csi_pb2.VolumeCapability.AccessMode
OFFERED = frozenset(
    {
        _MODES.SINGLE_NODE_WRITER,
        _MODES.SINGLE_NODE_READER_ONLY,
        _MODES.SINGLE_NODE_SINGLE_WRITER,  # one target path at a time: csi-node-host sees to it
        _MODES.SINGLE_NODE_MULTI_WRITER,
    }
)
# For raw block also this one. The two other modes of many nodes promise that only one, or none, of them writes: NVMe-oF
# targets here cannot hold a single host to reading, so that would be a promise that nobody keeps.
SHARED_BLOCK = _MODES.MULTI_NODE_MULTI_WRITER
# Live migration needs two: the node that a VM leaves and the one that it goes to. More than that would be any pod that
# names the claim (openebs 4059), with nothing to keep their writes apart.
NODES_MAX = 2


def check_offered(access: Access) -> None:
    """Raises InvalidArgumentError for a way of using volumes that this plugin does not offer."""
    if access.mode in OFFERED or (access.block and access.mode == SHARED_BLOCK):
        return
    offered = ", ".join(sorted(_MODES.Mode.Name(mode) for mode in OFFERED))
    raise InvalidArgumentError(
        f"volume_capability {access} is not offered; offered are {offered}, and {_MODES.Mode.Name(SHARED_BLOCK)} "
        "for raw block"
    )


def check_made_for(access: Access, made_for: str | None) -> None:
    """Raises InvalidArgumentError where a volume made as one kind is asked for as the other (None: nobody said)."""
    if made_for is not None and made_for != kind_of(access):
        raise InvalidArgumentError(
            f"volume_capability asks for {access}, but the volume was made as {made_for}; use it as that, or make "
            "another one"
        )


def kind_of(access: Access) -> str:
    """`block` or `mount`, as in CSI's access_type."""
    return "block" if access.block else "mount"


NodeOf = Callable[[UUID], str]  # the name of the node that has this DPU; "": nobody knows


def unknown_node(_: UUID) -> str:
    """The answer without Kubernetes."""
    return ""


def choose_hostnqn(
    volume_id: naming.VolumeId,
    volume: Volume,
    node: naming.NodeId,
    access: Access,
    node_of: NodeOf = unknown_node,
) -> str:
    """The host NQN for this node: the one that it has, or one of a new generation.

    Raises FailedPreconditionError where the volume is published to as many nodes as it may be, UnavailableError where
    a node that lost it is still connected.
    """
    if volume.leaving:
        raise UnavailableError(
            f"volume {volume_id}: {_named(volume.leaving, node_of)} may not connect any more but is not cut off yet; "
            "try again"
        )
    mine = [nqn for nqn in volume.hosts if naming.dpu_of_hostnqn(nqn) == node.dpu]
    others = [nqn for nqn in volume.hosts if nqn not in mine]
    allowed = NODES_MAX if access.multi_node else 1
    if len(others) >= allowed:
        raise FailedPreconditionError(
            f"volume {volume_id} is published to {_named(others, node_of)}; as {access} it can be on {allowed} node(s) "
            f"at the same time, so not on {node} too; unpublish it there first"
        )
    return mine[0] if mine else naming.hostnqn(node.dpu, naming.new_generation())


def is_of_dpu(node: naming.NodeId | None) -> Callable[[str], bool]:
    """Whether a host NQN is the node's, in any generation; of no node: every host NQN."""
    return lambda nqn: node is None or naming.dpu_of_hostnqn(nqn) == node.dpu


def _named(hosts: "list[str] | tuple[str, ...]", node_of: NodeOf) -> str:
    return ", ".join(_name(nqn, node_of) for nqn in hosts)


def _name(nqn: str, node_of: NodeOf) -> str:
    dpu = naming.dpu_of_hostnqn(nqn)
    if dpu is None:
        return f"host {nqn}"
    node = node_of(dpu)
    return f"node {node} (DPU {dpu})" if node else f"DPU {dpu}"
