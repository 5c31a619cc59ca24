"""The CSI Identity service, the same one in csi-controller and csi-node-host."""

import re
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dpucsi.api.csi.v1 import csi_pb2, csi_pb2_grpc
from dpucsi.errors import InvalidArgumentError

DRIVER_NAME = "csi.dpucsi.io"
DISTRIBUTION = "dpu-csi"

# What the plugin offers as a whole. Every instance answers the same, whichever RPCs it serves itself
# (CSI spec, GetPluginCapabilities).
PLUGIN_SERVICES = (
    csi_pb2.PluginCapability.Service.CONTROLLER_SERVICE,
    csi_pb2.PluginCapability.Service.VOLUME_ACCESSIBILITY_CONSTRAINTS,
)

# CSI spec, GetPluginInfoResponse.name: a domain name of at most 63 characters.
_NAME = re.compile(r"[A-Za-z]([-A-Za-z0-9.]{0,61}[A-Za-z0-9])?")


def driver_name(text: str) -> str:
    """`text`, or InvalidArgumentError where it is no CSI driver name; for a configuration's `parse`."""
    if not _NAME.fullmatch(text):
        raise InvalidArgumentError(
            f"driver name {text[:80]!r} is not a domain name of at most 63 letters, digits, '-' and '.'"
        )
    return text


def plugin_version() -> str:
    """The version of the installed distribution; "0" in a checkout that was never installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0"


async def always_ready() -> bool:
    """For a service that can answer as soon as it serves."""
    return True


class IdentityServicer(csi_pb2_grpc.IdentityServicer):
    """Answers who this plugin is. `ready` is asked at every Probe and says whether calls can succeed now."""

    def __init__(self, name: str = DRIVER_NAME, ready: Callable[[], Awaitable[bool]] = always_ready) -> None:
        self._name = name
        self._version = plugin_version()
        self._ready = ready

    async def GetPluginInfo(  # noqa: N802  # the wire's name
        self, request: csi_pb2.GetPluginInfoRequest, context: Any
    ) -> csi_pb2.GetPluginInfoResponse:
        """Name and version."""
        return csi_pb2.GetPluginInfoResponse(name=self._name, vendor_version=self._version)

    async def GetPluginCapabilities(  # noqa: N802
        self, request: csi_pb2.GetPluginCapabilitiesRequest, context: Any
    ) -> csi_pb2.GetPluginCapabilitiesResponse:
        """The capabilities of the plugin as a whole."""
        services = [
            csi_pb2.PluginCapability(service=csi_pb2.PluginCapability.Service(type=kind)) for kind in PLUGIN_SERVICES
        ]
        return csi_pb2.GetPluginCapabilitiesResponse(capabilities=services)

    async def Probe(  # noqa: N802
        self, request: csi_pb2.ProbeRequest, context: Any
    ) -> csi_pb2.ProbeResponse:
        """Always OK; `ready` false tells the CO to wait, where an error would make it restart a healthy process."""
        answer = csi_pb2.ProbeResponse()
        answer.ready.value = await self._ready()
        return answer
