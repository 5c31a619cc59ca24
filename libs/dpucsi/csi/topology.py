"""Where volumes can be used, in CSI's words: on every Host, whichever storage they are on, and on no other node.

Kubernetes then sends no pod with a volume to a node without a DPU. Its external-provisioner (6.4) publishes no capacity
that lasts for a driver without topology: it takes its own CSIStorageCapacity objects for obsolete ones.
"""

from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.errors import ResourceExhaustedError

ROLE, HOST = "csi.dpucsi.io/role", "host"  # the label by which nodes are made Hosts


def of_hosts() -> csi_pb2.Topology:
    """The only topology there is."""
    return csi_pb2.Topology(segments={ROLE: HOST})


def check_reachable(wanted: csi_pb2.TopologyRequirement) -> None:
    """Raises ResourceExhaustedError, as CSI wants it, where a volume has to be usable where there are no Hosts."""
    if wanted.requisite and of_hosts() not in wanted.requisite:
        asked = "; ".join(str(dict(one.segments)) for one in wanted.requisite)
        raise ResourceExhaustedError(
            f"accessibility_requirements.requisite is {asked[:200]}, but volumes can be used on nodes with "
            f"{ROLE}={HOST} and on no others; correct the StorageClass's allowedTopologies"
        )
