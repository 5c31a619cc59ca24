"""The never-format decision over its whole input space."""

from itertools import product

import pytest

from dpucsi.mount.decide import Action, Decision, History, decide
from dpucsi.mount.probe import UNFINISHED, Content, Probe

PROBES = [
    Probe(readable, content, signature, label, table, "EIO" if not readable else "")
    for readable, content, signature, label, table in product(
        (True, False),
        Content,
        ("", "ext4", "xfs", "crypto_LUKS", "LVM2_member"),
        ("", UNFINISHED, UNFINISHED.upper()),
        ("", "dos", "gpt"),
    )
]
SPACE = list(product(PROBES, ("ext4", "xfs"), (True, False), History, (True, False)))


def all_decisions():
    for probe, fs_type, source, history, read_only in SPACE:
        decision = decide(probe, fs_type=fs_type, content_source=source, history=history, read_only=read_only)
        yield probe, fs_type, source, history, read_only, decision


def is_unfinished(probe):
    return probe.content is Content.FOUND and (probe.signature, probe.label) == ("xfs", UNFINISHED)


def test_mkfs_or_erase_exactly_when_everything_speaks_for_it():
    for probe, _, source, history, read_only, decision in all_decisions():
        free = probe.readable and not probe.partition_table
        free = free and not source and history is not History.FORMATTED and not read_only
        assert (decision.action is Action.MKFS) == (free and probe.content is Content.NOTHING)
        assert (decision.action is Action.ERASE) == (free and is_unfinished(probe))


def test_mounted_only_when_it_is_what_was_asked_for():
    for probe, fs_type, _, _, _, decision in all_decisions():
        right = probe.readable and probe.content is Content.FOUND and probe.signature == fs_type
        right = right and not is_unfinished(probe)
        assert (decision.action is Action.MOUNT) == (right and not probe.partition_table)


def test_every_refusal_has_a_reason_and_only_an_unreadable_disk_is_worth_a_retry():
    for probe, *_, decision in all_decisions():
        assert bool(decision.reason) == (decision.action is Action.REFUSE)
        assert decision.retry_helps == (not probe.readable)


NOTHING = Probe(readable=True)
EXT4 = Probe(readable=True, content=Content.FOUND, signature="ext4")
CUT = Probe(readable=True, content=Content.FOUND, signature="xfs", label="dpucsi-mkfs")


@pytest.mark.parametrize(
    ("probe", "source", "history", "read_only", "action", "words"),
    [
        (NOTHING, False, History.NEW, False, Action.MKFS, ""),
        (NOTHING, False, History.FORMATTING, False, Action.MKFS, ""),
        (NOTHING, False, History.FORMATTED, False, Action.REFUSE, "its data is lost"),
        (NOTHING, True, History.NEW, False, Action.REFUSE, "made from another one"),
        (NOTHING, False, History.NEW, True, Action.REFUSE, "only be read"),
        (EXT4, True, History.NEW, True, Action.MOUNT, ""),
        (EXT4, False, History.FORMATTING, False, Action.MOUNT, ""),
        (Probe(readable=False, why="EIO"), False, History.NEW, False, Action.REFUSE, "cannot be read"),
        (Probe(readable=True, content=Content.AMBIVALENT), False, History.NEW, False, Action.REFUSE, "more than one"),
        (CUT, False, History.NEW, False, Action.ERASE, ""),
        (CUT, False, History.FORMATTING, False, Action.ERASE, ""),
        (CUT, False, History.FORMATTED, False, Action.REFUSE, "whose mkfs did not end, though it carried ext4 before"),
        (CUT, True, History.NEW, False, Action.REFUSE, "made from another one"),
        (CUT, False, History.NEW, True, Action.REFUSE, "only be read"),
        (Probe(True, Content.FOUND, "ext4", "dpucsi-mkfs"), False, History.NEW, False, Action.MOUNT, ""),
        (Probe(True, Content.FOUND, "", "", "gpt"), False, History.NEW, False, Action.REFUSE, "gpt partition table"),
        (Probe(True, Content.FOUND, "xfs"), False, History.NEW, False, Action.REFUSE, "carries xfs, wanted ext4"),
    ],
)
def test_rows_as_a_reader_would_check_them(probe, source, history, read_only, action, words):
    decision = decide(probe, fs_type="ext4", content_source=source, history=history, read_only=read_only)
    assert isinstance(decision, Decision) and decision.action is action and words in decision.reason
