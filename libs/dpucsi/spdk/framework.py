"""SPDK about itself: spdk_*, rpc_* and framework_*."""

from dataclasses import dataclass

from dpucsi.spdk.answers import Caller, Fields, texts
from dpucsi.spdk.instance import Sighting


@dataclass(frozen=True, order=True)
class Version:
    """A release of SPDK; compares by its numbers. `text` as SPDK prints itself."""

    major: int
    minor: int
    patch: int
    text: str

    def __str__(self) -> str:
        return self.text


async def spdk_get_version(client: Caller) -> Version:
    """Which release it is."""
    answer = Fields("spdk_get_version", await client.call("spdk_get_version"))
    fields = answer.fields("fields")
    return Version(fields.number("major"), fields.number("minor"), fields.number("patch"), answer.text("version"))


async def rpc_get_methods(client: Caller) -> frozenset[str]:
    """The methods that it has, those that need an earlier or later state of it included."""
    return frozenset(texts("rpc_get_methods", await client.call("rpc_get_methods")))


async def framework_get_reactors(client: Caller) -> Sighting:
    """Its pid and age. Refused until framework_start_init, where it was started with --wait-for-rpc."""
    answer = Fields("framework_get_reactors", await client.call("framework_get_reactors"))
    reactors = answer.each("reactors", lambda reactor: reactor.each("lw_threads", lambda it: it.number("elapsed", 0)))
    oldest = max((elapsed for threads in reactors for elapsed in threads), default=0)
    tick_rate = answer.number("tick_rate", 0)
    return Sighting(answer.number("pid"), oldest / tick_rate if oldest and tick_rate else None)
