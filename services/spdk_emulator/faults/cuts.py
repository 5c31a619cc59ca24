"""Faults of the network: a TCP listener of the target, or a path of the initiator, that nothing gets through."""

from functools import partial

from spdk_emulator.faults.faults import Faults
from spdk_emulator.initiator.initiator import Initiator
from spdk_emulator.nvmf.target import NvmfTarget


def put_cuts(faults: Faults, target: NvmfTarget, initiator: Initiator) -> None:
    """Both ask before they take or make a connection, and drop theirs when the rules change."""
    target.is_cut = partial(faults.is_cut, "listener")
    initiator.is_cut = partial(faults.is_cut, "path")
    faults.on_change += [target.drop_cut, initiator.drop_cut]
