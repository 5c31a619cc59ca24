"""nvmf_*_subsystem* and what is read from a subsystem."""

from collections.abc import Awaitable

from spdk_emulator.emulator import Emulator
from spdk_emulator.nvmf.subsystem import Subsystem
from spdk_emulator.nvmf.target import DISCOVERY
from spdk_emulator.rpc.errors import invalid_parameters
from spdk_emulator.rpc.params import Json, boolean, may, need, takes, text, u8, u16, u32
from spdk_emulator.rpc.table import NVMF, method

SERIAL_MAX, MODEL_MAX = 20, 40  # characters
NAMESPACES_DEFAULT = 32


@method(
    "nvmf_create_subsystem",
    takes(
        nqn=need(text),
        tgt_name=may(text),
        serial_number=may(text, "0" * SERIAL_MAX),
        model_number=may(text, "SPDK bdev Controller"),
        admin_label=may(text, ""),
        max_namespaces=may(u32, 0),
        allow_any_host=may(boolean, False),
        ana_reporting=may(boolean, False),
        min_cntlid=may(u16, 1),
        max_cntlid=may(u16, 65519),
        dmrsl=may(u32, 2097152),
        wzsl=may(u8, 12),
        passthrough=may(boolean, False),
        enable_nssr=may(boolean, False),
    ),
    mismatch=NVMF,
)
def nvmf_create_subsystem(
    emulator: Emulator,
    *,
    nqn: str,
    tgt_name: str | None,
    serial_number: str,
    model_number: str,
    admin_label: str,
    max_namespaces: int,
    allow_any_host: bool,
    ana_reporting: bool,
    min_cntlid: int,
    max_cntlid: int,
    dmrsl: int,
    wzsl: int,
    passthrough: bool,
    enable_nssr: bool,
) -> Json:
    """Numbers and texts are kept as given."""
    emulator.target.check_name(tgt_name)
    for name, longest in ((serial_number, SERIAL_MAX), (model_number, MODEL_MAX)):
        if len(name) > longest or not name.isascii() or not (name.isprintable() or not name):
            raise invalid_parameters()
    subsystem = Subsystem(
        nqn=nqn,
        serial_number=serial_number,
        model_number=model_number,
        admin_label=admin_label,
        max_namespaces=max_namespaces or NAMESPACES_DEFAULT,
        min_cntlid=min_cntlid,
        max_cntlid=max_cntlid,
        allow_any_host=allow_any_host,
        ana_reporting=ana_reporting,
        passthrough=passthrough,
        dmrsl=dmrsl,
        wzsl=wzsl,
    )
    emulator.target.create(subsystem)
    return True


@method("nvmf_delete_subsystem", takes(nqn=need(text), tgt_name=may(text)), mismatch=NVMF)
def nvmf_delete_subsystem(emulator: Emulator, *, nqn: str, tgt_name: str | None) -> Awaitable[Json]:
    """Its hosts are cut off."""
    return _delete(emulator, emulator.target.find(nqn, tgt_name))


async def _delete(emulator: Emulator, subsystem: Subsystem) -> Json:
    await emulator.target.delete(subsystem)
    return True


@method("nvmf_get_subsystems", takes(nqn=may(text), tgt_name=may(text)), mismatch=NVMF)
def nvmf_get_subsystems(emulator: Emulator, *, nqn: str | None, tgt_name: str | None) -> Json:
    """All, the discovery subsystem first, or one."""
    emulator.target.check_name(tgt_name)
    if nqn == DISCOVERY["nqn"]:
        return [DISCOVERY]
    if nqn is not None:
        return [emulator.target.find(nqn).describe()]
    return [DISCOVERY, *(subsystem.describe() for subsystem in emulator.target.subsystems.values())]


@method("nvmf_subsystem_get_controllers", takes(nqn=need(text), tgt_name=may(text)), mismatch=NVMF)
def nvmf_subsystem_get_controllers(emulator: Emulator, *, nqn: str, tgt_name: str | None) -> Json:
    """The controllers that exist now, those with a command still running among them."""
    return [controller.describe() for controller in emulator.target.find(nqn, tgt_name).controllers]


@method("nvmf_subsystem_get_qpairs", takes(nqn=need(text), tgt_name=may(text)), mismatch=NVMF)
def nvmf_subsystem_get_qpairs(emulator: Emulator, *, nqn: str, tgt_name: str | None) -> Json:
    """The queues of the controllers that exist now."""
    controllers = emulator.target.find(nqn, tgt_name).controllers
    return [queue for controller in controllers for queue in controller.describe_queues()]


@method("nvmf_set_max_subsystems", takes(max_subsystems=need(u32)), is_startup=True)
def nvmf_set_max_subsystems(emulator: Emulator, *, max_subsystems: int) -> Json:
    """How many subsystems there may be."""
    emulator.target.max_subsystems = max_subsystems
    return True
