"""What an SPDK method answers when it refuses: a number and a text, neither of which says what happened."""

import os

INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
METHOD_NOT_FOUND = -32601
INVALID_REQUEST = -32600


class RpcError(Exception):
    """The error object of one answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def refused(number: int) -> RpcError:
    """How most bdev methods refuse: the negative errno with its text."""
    return RpcError(-number, os.strerror(number))


def refused_as_params(number: int) -> RpcError:
    """How a finished lvol operation refuses: "invalid params" with the errno's text."""
    return RpcError(INVALID_PARAMS, os.strerror(number))


def invalid_parameters() -> RpcError:
    """How nvmf methods refuse nearly everything."""
    return RpcError(INVALID_PARAMS, "Invalid parameters")


def internal_error() -> RpcError:
    """How nvmf methods refuse the rest."""
    return RpcError(INTERNAL_ERROR, "Internal error")
