"""What an I/O controller says of itself and of its namespaces, with SPDK's values (lib/nvmf/ctrlr.c, ctrlr_bdev.c)."""

from dataclasses import replace
from uuid import UUID

from dpucsi.nvme_tcp.fabrics import VERSION_2_0
from dpucsi.nvme_tcp.identify import (
    CMIC_ANA,
    CMIC_CONTROLLERS,
    CMIC_PORTS,
    NSATTR_WRITE_PROTECTED,
    OAES_ANA,
    OAES_NAMESPACES,
    ONCS_COMPARE,
    ONCS_DSM,
    ONCS_WRITE_ZEROES,
    IdentifyController,
    IdentifyNamespace,
    IndependentNamespace,
    NamespaceDescriptors,
    NvmController,
    lbaf,
)
from spdk_emulator.nvmf.events import REQUESTS_MAX
from spdk_emulator.nvmf.subsystem import Namespace, Subsystem
from spdk_emulator.nvmf.transport import TransportOptions

FIRMWARE = "26.09"
IO_CONTROLLER, DISCOVERY_CONTROLLER = 1, 2  # CNTRLTYPE
ABORTS_MAX = 4
ANA_TRANSITION_S = 10
_VENDOR = 0x8086
_OUI = bytes((0xE4, 0xD2, 0x5C))
_ANACAP = 0b0100_0111  # optimized, non-optimized and inaccessible are used; a namespace keeps its group
_VWC = 0b101  # there is a write cache; flush takes one namespace
_NSFEAT = 0b1_0010  # atomic writes and optimal sizes are told
_SGLS = 1 | 1 << 20  # supported, with offsets
_EXTENDED_LOGS = 0b100  # log pages can be read from an offset on
_PAGE = 4096
_UNLIMITED = 0xFFFF


def controller(subsystem: Subsystem, cntlid: int, options: TransportOptions) -> IdentifyController:
    """CNS 01h."""
    ana = subsystem.ana_reporting
    return replace(
        common(subsystem.nqn, cntlid, options),
        vid=_VENDOR,
        ssvid=_VENDOR,
        sn=subsystem.serial_number,
        mn=subsystem.model_number,
        rab=6,
        ieee=_OUI,
        cmic=CMIC_PORTS | CMIC_CONTROLLERS | CMIC_ANA * ana,
        oaes=OAES_NAMESPACES | OAES_ANA * ana,
        ctratt=1,  # host identifiers of 16 bytes
        cntrltype=IO_CONTROLLER,
        acl=ABORTS_MAX - 1,
        frmw=0b11,  # one slot, read only
        lpa=_EXTENDED_LOGS | 0b10_0010,  # effects, supported pages
        kas=options.kas,
        anatt=ANA_TRANSITION_S * ana,
        anacap=_ANACAP * ana,
        anagrpmax=subsystem.max_namespaces * ana,
        nanagrpid=subsystem.max_namespaces * ana,
        mnan=subsystem.max_namespaces * ana,
        sqes=0x66,
        cqes=0x44,
        nn=subsystem.max_namespaces,
        oncs=_oncs(subsystem),
        vwc=_VWC,
        ioccsz=(64 + options.limits.in_capsule) // 16,
        iorcsz=1,
        msdbd=1,
    )


def common(subnqn: str, cntlid: int, options: TransportOptions) -> IdentifyController:
    """What a discovery controller says too."""
    return IdentifyController(
        fr=FIRMWARE,
        mdts=(options.limits.data_max // _PAGE).bit_length() - 1,
        cntlid=cntlid,
        ver=VERSION_2_0,
        aerl=REQUESTS_MAX - 1,
        lpa=_EXTENDED_LOGS,
        elpe=127,
        maxcmd=options.queue_size,
        wctemp=0x157,
        cctemp=0x175,
        sgls=_SGLS,
        subnqn=subnqn,
    )


def namespace(entry: Namespace, options: TransportOptions, *, anagrpid: int, is_reached: bool) -> IdentifyNamespace:
    """CNS 00h. `anagrpid` 0: no ANA; `is_reached`: not in an inaccessible group."""
    bdev, kind = entry.bdev, entry.bdev.kind
    granularity = max(kind.alignment, 1) - 1
    blocks_max = options.limits.data_max // bdev.block_size
    return IdentifyNamespace(
        nsze=bdev.num_blocks,
        ncap=bdev.num_blocks,
        nuse=bdev.num_blocks * is_reached,
        nsfeat=_NSFEAT,
        nmic=1,
        nawupf=granularity,
        npwg=granularity,
        npwa=granularity,
        npdg=granularity,
        npda=granularity,
        nows=(kind.optimal_write_size or blocks_max) - 1,
        mssrl=_UNLIMITED,
        mcl=_UNLIMITED,
        anagrpid=anagrpid,
        nsattr=NSATTR_WRITE_PROTECTED * bdev.is_read_only,
        nguid=bytes.fromhex(entry.nguid),
        eui64=bytes.fromhex(entry.eui64) or bytes(8),
        lbaf0=lbaf(bdev.block_size),
    )


def independent(entry: Namespace, anagrpid: int) -> IndependentNamespace:
    """CNS 08h."""
    return IndependentNamespace(
        nsfeat=_NSFEAT & ~0b1_0000,
        nmic=1,
        anagrpid=anagrpid,
        nsattr=NSATTR_WRITE_PROTECTED * entry.bdev.is_read_only,
    )


def descriptors(entry: Namespace) -> NamespaceDescriptors:
    """CNS 03h."""
    uuid = UUID(entry.uuid)
    return NamespaceDescriptors(uuid if uuid.int else None, entry.nguid.lower(), entry.eui64.lower())


def nvm_controller(subsystem: Subsystem) -> NvmController:
    """CNS 06h of the NVM command set."""
    ranges = 1 if subsystem.dmrsl else 0
    return NvmController(wzsl=subsystem.wzsl, dmrl=ranges, dmrsl=subsystem.dmrsl, dmsl=ranges * subsystem.dmrsl)


def _oncs(subsystem: Subsystem) -> int:
    """Deallocate only where every bdev can."""
    bdevs = [entry.bdev for entry in subsystem.namespaces.values()]
    can_unmap = all("unmap" in bdev.kind.io_types | bdev.extra_io_types for bdev in bdevs)
    return ONCS_COMPARE | ONCS_WRITE_ZEROES | ONCS_DSM * can_unmap
