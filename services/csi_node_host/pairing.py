"""What Kubernetes says of this Host: which DPU is its own, and which volumes are published to it.

The channel to the DPU leads to a fixed endpoint, or to the one that the Host's Node object names now.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc

from csi_node_host.config import Config
from csi_node_host.forgotten import IsPublished
from dpucsi.aio import background
from dpucsi.errors import DpucsiError, InvalidArgumentError, UnavailableError
from dpucsi.rpc import Endpoint, channel
from dpucsi.rpc.tls import TlsFiles

if TYPE_CHECKING:
    from dpucsi.k8s import KubeApi, Pairing

GRACE_S = 30.0  # for the calls in flight to a DPU that is not this Host's any more
ChannelOf = Callable[[], grpc.aio.Channel]  # raises UnavailableError while nobody says which DPU it is


@asynccontextmanager
async def kubernetes(config: Config) -> AsyncIterator["KubeApi | None"]:
    """The API server, inside, where --dpu node says that there is one. Raises InvalidArgumentError."""
    if config.dpu is not None:
        yield None
        return
    # Loaded here and not above: 27 MiB that a Host whose DPU is given by --dpu does without.
    try:
        from dpucsi.k8s import connect  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise InvalidArgumentError(
            f"--dpu node needs a package that is not installed ({missing.name}): pip install 'dpu-csi[kubernetes]'"
        ) from missing
    api = await connect(config.kubeconfig)
    try:
        yield api
    finally:
        await api.close()


def publications(config: Config, api: "KubeApi | None") -> IsPublished | None:
    """What tells whether a volume is published to this Host; None where nobody can be asked."""
    if api is None:
        return None
    from dpucsi.k8s import Publications  # noqa: PLC0415  # loaded already

    known = Publications(api, config.driver_name, config.node)
    return lambda volume_id: known.has(str(volume_id))


@asynccontextmanager
async def channel_to_dpu(config: Config, tls: TlsFiles | None, api: "KubeApi | None") -> AsyncIterator[ChannelOf]:
    """What gives the channel to the DPU, inside; closed at the end. Raises InvalidArgumentError without mTLS."""
    if tls is None and not config.insecure and (config.dpu is None or not config.dpu.path):
        raise InvalidArgumentError(
            f"the DPU's endpoint {config.dpu or 'of --dpu node'} is TCP and needs mTLS: give --tls-ca, --tls-cert and "
            "--tls-key (or --insecure in a lab)"
        )
    if config.dpu is not None:
        async with channel(config.dpu, tls, server_name=config.dpu_tls_name) as fixed:
            yield lambda: fixed
        return
    assert api is not None, "--dpu node has an API server"
    from dpucsi.k8s import Pairing  # noqa: PLC0415  # loaded already

    pairing = Pairing(api, config.node, config.dpu_port)
    following = _Following(pairing, lambda endpoint: channel(endpoint, tls, server_name=config.dpu_tls_name))
    try:
        async with background(pairing.run):
            yield following.channel
    finally:
        await following.close()


class _Following:
    """One lasting channel, to another endpoint when the pairing says so."""

    def __init__(self, pairing: "Pairing", open_channel: Callable[[Endpoint], grpc.aio.Channel]) -> None:
        self._pairing = pairing
        self._open = open_channel
        self._endpoint = ""
        self._channel: grpc.aio.Channel | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def channel(self) -> grpc.aio.Channel:
        """To the DPU of now. Raises UnavailableError that says what is missing."""
        endpoint = self._pairing.endpoint
        if not endpoint:
            raise UnavailableError(f"the DPU of this Host is not known: {self._pairing.missing}")
        if self._channel is None or endpoint != self._endpoint:
            try:
                opened = self._open(Endpoint.parse(endpoint))
            except DpucsiError as wrong:
                raise UnavailableError(f"the DPU of this Host cannot be called: {wrong}") from wrong
            self._let_go()
            self._endpoint, self._channel = endpoint, opened
        return self._channel

    def _let_go(self) -> None:
        if self._channel is not None:
            task = asyncio.ensure_future(self._channel.close(GRACE_S))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Ends all of them."""
        for task in self._closing:
            task.cancel()
        if self._channel is not None:
            await self._channel.close()
