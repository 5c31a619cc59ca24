"""Around every call that a service answers: context for its log lines, errors to status codes, one line per call."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog

from dpucsi.errors import DpucsiError
from dpucsi.observe import bound
from dpucsi.rpc.context import adopt_request_id
from dpucsi.rpc.status import code_of

log = structlog.get_logger(__name__)
_QUIET = ("/grpc.health.", "/grpc.reflection.", "/csi.v1.Identity/Probe")
_BUG = "unexpected error in this service, which is a bug; its log has the details under request id"


class Door(grpc.aio.ServerInterceptor):
    """The server interceptor. Streaming calls (health Watch, reflection) pass untouched."""

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Wraps the handler of a unary call."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler.unary_unary:
            return handler
        method: str = handler_call_details.method
        metadata = handler_call_details.invocation_metadata

        async def answer(request: Any, context: Any) -> Any:
            return await _answer(handler.unary_unary, method, request, context, metadata)

        return grpc.unary_unary_rpc_method_handler(answer, handler.request_deserializer, handler.response_serializer)


async def _answer(
    behaviour: Callable[[Any, Any], Awaitable[Any]], method: str, request: Any, context: Any, metadata: Any
) -> Any:
    request_id = adopt_request_id(metadata)
    bindings = {"rpc": method, "request_id": request_id}
    volume_id = getattr(request, "volume_id", "")
    if isinstance(volume_id, str) and volume_id:
        bindings["volume_id"] = volume_id[:128]
    began = time.perf_counter()
    code, details = grpc.StatusCode.CANCELLED, ""
    with bound(**bindings):
        try:
            answer = await behaviour(request, context)
            code = grpc.StatusCode.OK
            return answer
        except DpucsiError as error:
            code, details = code_of(error), str(error)
        except grpc.aio.AbortError:
            code = context.code()
            raise
        except NotImplementedError:  # raised by the generated base for a call that this service does not offer
            code, details = grpc.StatusCode.UNIMPLEMENTED, f"{method} is not offered by this service"
        except Exception as error:
            code, details = grpc.StatusCode.INTERNAL, f"{_BUG} {request_id}"
            log.error("bug", exc_info=error)
        finally:
            took_ms = (time.perf_counter() - began) * 1e3
            # Behind the answer: writing a line takes 0.4 ms, which every hop of a request would wait for.
            asyncio.get_running_loop().call_soon(_say, method, code, details, took_ms)
        return await context.abort(code, details)


def _say(method: str, code: grpc.StatusCode, details: str, took_ms: float) -> None:
    if code is grpc.StatusCode.OK:
        speak = log.debug if method.startswith(_QUIET) else log.info
        speak("call", code=code.name, ms=round(took_ms, 2))
    else:
        log.warning("call", code=code.name, ms=round(took_ms, 2), error=details)
