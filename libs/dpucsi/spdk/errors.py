"""What can go wrong between us and SPDK.

SPDK's error codes do not say what happened: one situation has many codes, one code means many situations. So nobody
decides from `SpdkError.code`. Read the state, compare it with what is wanted, act on the difference. The two codes that
have a class of their own speak about SPDK itself and not about the object that was named.
"""

from dpucsi.errors import BusyError, DpucsiError, FailedPreconditionError, UnavailableError, UnimplementedError

METHOD_NOT_FOUND = -32601  # JSON-RPC 2.0 section 5.1
OUT_OF_MEMORY = -12  # ENOMEM: too many requests in flight (about 500 lvol creates)


class SpdkError(FailedPreconditionError):
    """SPDK refused a call. `code` and `text` are for people; the state decides."""

    def __init__(self, spdk: str, method: str, code: int, text: str) -> None:
        super().__init__(f"{spdk} refused {method}: {text} (code {code})")
        self.method = method
        self.code = code
        self.text = text


class MethodNotFoundError(UnimplementedError):
    """This SPDK has no such method: it was built without it, or is too old or too new."""


class OutOfMemoryError(BusyError):
    """SPDK has too much in flight; the same call succeeds when it has less."""


class ProtocolError(UnavailableError):
    """The peer sent what no JSON-RPC server sends. The connection ends: nothing after it can be trusted."""


class UnexpectedAnswerError(UnavailableError):
    """A well-formed answer without a field that we need, or with another type: a version that we do not know."""


class ConnectionLostError(UnavailableError):
    """The connection ended while a call was in flight. Whether SPDK carried it out is unknown: read the state."""


def refusal(spdk: str, method: str, code: int, text: str) -> DpucsiError:
    """The error for an answer that holds an error."""
    if code == METHOD_NOT_FOUND:
        return MethodNotFoundError(f"{spdk} has no method {method}; check its version and how it was built")
    if code == OUT_OF_MEMORY:
        return OutOfMemoryError(f"{spdk} has no memory for {method} now; try again with less in flight")
    return SpdkError(spdk, method, code, text)
