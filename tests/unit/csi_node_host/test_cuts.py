"""Stage, unstage and publish, cut at every single await, then the process restarts and the CO tries again."""

import asyncio
import types

import pytest
from tests.unit.csi_node_host.rig import VOLUME, again, mounts_under

from csi_node_host.publish import publish, unpublish
from csi_node_host.requests import parse_publish, parse_stage
from csi_node_host.stage import stage
from csi_node_host.unstage import unstage
from dpucsi.api.csi.v1 import csi_pb2


@types.coroutine
def cut(coroutine, at):
    """Awaits `coroutine`, but throws CancelledError into it at its suspension number `at`; True: it was cut."""
    suspensions, send, value = 0, coroutine.send, None
    while True:
        try:
            waits_for = send(value)
        except StopIteration:
            return False
        except asyncio.CancelledError:
            return True
        suspensions += 1
        if suspensions == at:
            if waits_for is not None:
                waits_for._asyncio_future_blocking = False
            send, value = coroutine.throw, asyncio.CancelledError()
            continue
        send = coroutine.send
        value = yield waits_for


def wanted(rig, fs_type):
    return parse_stage(rig.stage_request(fs_type=fs_type))


async def everything_back(rig):
    await again(rig.unstage)
    assert rig.record() is None and rig.dpu.attached == {} and mounts_under(rig.root) == []


async def cut_everywhere(rig, prepare, verb, check):
    """`check` runs on a restarted process after each cut; the loop ends when the verb ran through uncut."""
    at = 0
    while True:
        at += 1
        await prepare()
        was_cut = await cut(verb(), at)
        await rig.restart()
        await check()
        if not was_cut:
            return at


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fs_type", ["ext4", "block"])
async def test_stage_cut_then_staged_again(rig, fs_type):
    async def prepare():
        rig.file().unlink(missing_ok=True)  # blank again, so that every round formats

    async def check():
        await again(lambda: rig.stage(fs_type=fs_type))
        if fs_type == "ext4":
            (rig.staging / "x").write_text("x")
        await everything_back(rig)

    rounds = await cut_everywhere(rig, prepare, lambda: stage(rig.site, wanted(rig, fs_type)), check)
    assert rounds > 3


@pytest.mark.timeout(300)
async def test_stage_cut_then_given_up(rig):
    async def prepare():
        rig.file().unlink(missing_ok=True)

    async def check():
        await everything_back(rig)
        await again(rig.stage)  # a mkfs that was cut may still run: it outlives its caller, and is waited for
        await everything_back(rig)

    rounds = await cut_everywhere(rig, prepare, lambda: stage(rig.site, wanted(rig, "ext4")), check)
    assert rounds > 8


@pytest.mark.timeout(300)
@pytest.mark.parametrize("then", ["unstaged again", "staged again"])
async def test_unstage_cut(rig, then):
    async def prepare():
        await again(rig.stage)
        (rig.staging / "x").write_text("kept")

    async def check():
        if then == "staged again":
            await again(rig.stage)
            assert (rig.staging / "x").read_text() == "kept"
        await everything_back(rig)

    rounds = await cut_everywhere(rig, prepare, lambda: unstage(rig.site, VOLUME, rig.staging), check)
    assert rounds > 3


@pytest.mark.parametrize("fs_type", ["ext4", "block"])
async def test_publish_read_only_cut(rig, fs_type):
    await rig.stage(fs_type=fs_type)

    def verb():
        request = csi_pb2.NodePublishVolumeRequest(
            volume_id=str(VOLUME),
            staging_target_path=str(rig.staging),
            target_path=str(rig.target),
            volume_capability=rig.stage_request(fs_type=fs_type).volume_capability,
            readonly=True,
        )
        return publish(rig.site, parse_publish(request))

    async def nothing():
        pass

    async def check():
        await rig.publish(fs_type=fs_type, readonly=True)
        await rig.unpublish()
        assert not rig.target.exists() and rig.record().targets == {}

    assert await cut_everywhere(rig, nothing, verb, check) > 2
    await rig.unstage()


async def test_unpublish_cut(rig):
    await rig.stage()

    async def check():
        await rig.unpublish()
        assert not rig.target.exists() and rig.record().targets == {}

    assert await cut_everywhere(rig, rig.publish, lambda: unpublish(rig.site, VOLUME, rig.target), check) > 1
    await rig.unstage()
