"""How SPDK shows a path: in bdev_nvme_get_controllers, and in the driver_specific part of a bdev."""

from dpucsi.nvme_tcp.host import AnaState
from dpucsi.nvme_tcp.identify import CMIC_ANA, CMIC_CONTROLLERS
from spdk_emulator.initiator.path import NvmePath
from spdk_emulator.rpc.params import Json

_OACS = ("security", "format", "firmware", "ns_manage")  # bits 0 to 3
_ANA = {
    AnaState.OPTIMIZED: "optimized",
    AnaState.NON_OPTIMIZED: "non_optimized",
    AnaState.INACCESSIBLE: "inaccessible",
    AnaState.PERSISTENT_LOSS: "persistent_loss",
    AnaState.CHANGE: "change",
}


def show_path(path: NvmePath) -> dict[str, Json]:
    """As in bdev_nvme_get_controllers."""
    shown: dict[str, Json] = {"state": path.state, "trid": path.spec.trid()}
    if path.alternates:
        shown["alternate_trids"] = [spec.trid() for spec in path.alternates]
    return shown | {
        "cntlid": path.controller.cntlid if path.controller else 0,
        "host": {
            "nqn": path.spec.hostnqn,
            "addr": path.spec.hostaddr,
            "svcid": path.spec.hostsvcid,
            "no_shn_notification": False,
        },
    }


def show_path_of_bdev(path: NvmePath, nsid: int) -> dict[str, Json]:
    """As in the driver_specific part of a bdev; of a lost path, what it was when it was there."""
    controller = path.controller
    assert controller is not None, "a path that shows namespaces has been connected"
    identity = controller.identity
    has_ana = bool(identity.cmic & CMIC_ANA)
    ns_data: dict[str, Json] = {"id": nsid}
    if has_ana:
        ns_data["ana_state"] = _ANA[controller.ana_state(nsid)]
    oacs: dict[str, Json] = {name: identity.oacs >> bit & 1 for bit, name in enumerate(_OACS)}
    return {
        "trid": path.spec.trid(),
        "ctrlr_data": {
            "cntlid": controller.cntlid,
            "vendor_id": f"{identity.vid:#06x}",
            "model_number": identity.mn,
            "serial_number": identity.sn,
            "firmware_revision": identity.fr,
            "subnqn": identity.subnqn,
            "oacs": oacs,
            "multi_ctrlr": bool(identity.cmic & CMIC_CONTROLLERS),
            "ana_reporting": has_ana,
        },
        "vs": {"nvme_version": _version(controller.version)},
        "ns_data": ns_data | {"can_share": path.namespaces[nsid].is_shared},
    }


def _version(register: int) -> str:
    """Of the VS property: two numbers, or three."""
    major, minor, tertiary = register >> 16, register >> 8 & 0xFF, register & 0xFF
    return f"{major}.{minor}.{tertiary}" if tertiary else f"{major}.{minor}"
