"""The never-format decision (design section 5) as a pure function: what to do with a disk that is to be mounted.

A disk is formatted only if all of this holds: its ends were read, nothing was found on them, the volume was not made
from another one, this attachment has not been formatted or mounted before, and it may be written. An xfs whose own
label says that its mkfs was cut is taken for blank: nothing was ever mounted there. It is erased first, and what is on
the disk then is decided anew. Everything else is mounted as it is, or refused with the reason.
"""

from dataclasses import dataclass
from enum import Enum

from dpucsi.mount.probe import Content, Probe


class History(Enum):
    """What the Host's record says about this attachment."""

    NEW = "none"
    FORMATTING = "formatting"  # mkfs may have started; no file system was ever mounted
    FORMATTED = "formatted"  # it had a file system


class Action(Enum):
    """What to do."""

    MKFS = "mkfs"
    ERASE = "erase the unfinished file system and look again"
    MOUNT = "mount as it is"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Decision:
    """`reason` tells why it was refused; `retry_helps`: it may be different next time without anybody's doing."""

    action: Action
    reason: str = ""
    retry_helps: bool = False


def decide(probe: Probe, *, fs_type: str, content_source: bool, history: History, read_only: bool) -> Decision:
    """`fs_type` is the one wanted; `content_source`: the volume was made from a snapshot or another volume."""
    if not probe.readable:
        return _refuse(f"it cannot be read ({probe.why}), so nobody knows what is on it", retry_helps=True)
    if probe.content is Content.AMBIVALENT:
        return _refuse("it carries more than one signature, so nobody knows what is on it; see blkid -p and wipefs")
    if probe.partition_table:
        return _refuse(f"it carries {probe}, so it is not a file system alone")
    if probe.content is Content.NOTHING or probe.unfinished:
        return _decide_empty(probe, fs_type, content_source, history, read_only)
    if probe.signature == fs_type:
        return Decision(Action.MOUNT)
    return _refuse(f"it carries {probe.signature or 'an unknown signature'}, wanted {fs_type}")


def _decide_empty(probe: Probe, fs_type: str, content_source: bool, history: History, read_only: bool) -> Decision:
    state = "an xfs whose mkfs did not end" if probe.unfinished else "blank"
    if content_source:
        return _refuse(f"it is {state}, though the volume was made from another one and must have content")
    if history is History.FORMATTED:
        return _refuse(f"it is {state}, though it carried {fs_type} before: its data is lost, or it is another disk")
    if read_only:
        return _refuse(f"it is {state} and may only be read, so there is nothing to mount")
    return Decision(Action.ERASE if probe.unfinished else Action.MKFS)


def _refuse(reason: str, *, retry_helps: bool = False) -> Decision:
    return Decision(Action.REFUSE, reason, retry_helps)
