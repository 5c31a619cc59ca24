import pytest

from dpucsi.api.csi.v1 import csi_pb2
from dpucsi.csi.identity import DRIVER_NAME, IdentityServicer, driver_name
from dpucsi.errors import InvalidArgumentError


async def test_info_and_capabilities():
    servicer = IdentityServicer()
    info = await servicer.GetPluginInfo(csi_pb2.GetPluginInfoRequest(), None)
    assert info.name == DRIVER_NAME and info.vendor_version
    answer = await servicer.GetPluginCapabilities(csi_pb2.GetPluginCapabilitiesRequest(), None)
    assert [entry.service.type for entry in answer.capabilities] == [
        csi_pb2.PluginCapability.Service.CONTROLLER_SERVICE,
        csi_pb2.PluginCapability.Service.VOLUME_ACCESSIBILITY_CONSTRAINTS,
    ]


@pytest.mark.parametrize("ready", [True, False])
async def test_probe_says_what_the_service_says(ready):
    async def look():
        return ready

    answer = await IdentityServicer(ready=look).Probe(csi_pb2.ProbeRequest(), None)
    assert answer.HasField("ready") and answer.ready.value is ready


@pytest.mark.parametrize("name", ["csi.dpucsi.io", "a", "a" * 63])
def test_driver_names(name):
    assert driver_name(name) == name


@pytest.mark.parametrize("name", ["", "1a", "a/b", "a" * 64, "a-", "a_b"])
def test_no_driver_names(name):
    with pytest.raises(InvalidArgumentError):
        driver_name(name)
