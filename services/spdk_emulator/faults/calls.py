"""Faults of JSON-RPC calls: late, lost, refused, or the end of the process."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from spdk_emulator.faults.faults import Armed, Faults
from spdk_emulator.faults.rules import ANY_METHOD, CallRule
from spdk_emulator.rpc.errors import RpcError
from spdk_emulator.rpc.params import Json

Answer: TypeAlias = "Json | Awaitable[Json]"


def crash() -> None:
    """As `kill -9`: nothing is closed, written or said."""
    os.kill(os.getpid(), signal.SIGKILL)


def call_with_faults(faults: Faults, method: str, start: Callable[[], Answer]) -> Answer:
    """Starts a call, unless a rule is about it. The first rule that is due acts; all that are meant count the call."""
    meant = [(armed, rule) for armed, rule in faults.of_calls() if rule.method in (method, ANY_METHOD)]
    due = [(armed, rule) for armed, rule in meant if armed.is_due(rule.nth)]
    if not due:
        return start()
    return _call(*due[0], start)


async def _call(armed: Armed, rule: CallRule, start: Callable[[], Answer]) -> Json:
    armed.hits += 1
    if rule.when == "before":
        await _act(armed, rule)
    try:
        answer = start()
        answer = await answer if isinstance(answer, Awaitable) else answer
    except RpcError:  # a refusal is an answer too
        if rule.when == "after":
            await _act(armed, rule)
        raise
    if rule.when == "after":
        await _act(armed, rule)
    return answer


async def _act(armed: Armed, rule: CallRule) -> None:
    match rule.action:
        case "fail":
            raise RpcError(rule.code, rule.message)
        case "delay":
            await asyncio.sleep(rule.seconds)
        case "hold":
            await armed.wait_for_release()
        case "drop":
            await asyncio.get_running_loop().create_future()
        case "crash":
            crash()
