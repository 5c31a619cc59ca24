"""The only Kubernetes code: the API server's objects, kept up to date, in this project's words.

Nothing here is imported unless a service is told to use Kubernetes; a DPU service never is.
"""

from dpucsi.k8s.api import KubeApi
from dpucsi.k8s.cluster import Cluster
from dpucsi.k8s.connect import connect, namespace
from dpucsi.k8s.lease import Leadership, LeaseLeadership, SoleLeadership, attacher_lease
from dpucsi.k8s.objects import CsiNode, Node, PersistentVolume, VolumeAttachment
from dpucsi.k8s.pairing import Pairing
from dpucsi.k8s.publications import Publications, attachment_name

__all__ = [
    "Cluster",
    "CsiNode",
    "KubeApi",
    "Leadership",
    "LeaseLeadership",
    "Node",
    "Pairing",
    "PersistentVolume",
    "Publications",
    "SoleLeadership",
    "VolumeAttachment",
    "attacher_lease",
    "attachment_name",
    "connect",
    "namespace",
]
