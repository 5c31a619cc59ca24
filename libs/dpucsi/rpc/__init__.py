"""gRPC at the edge: serving, calling, and the one table between our errors and status codes."""

from dpucsi.rpc.client import call, channel
from dpucsi.rpc.endpoint import Endpoint
from dpucsi.rpc.server import Service, serve
from dpucsi.rpc.status import code_of, error_of

__all__ = ["Endpoint", "Service", "call", "channel", "code_of", "error_of", "serve"]
