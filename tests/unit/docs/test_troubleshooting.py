"""What docs/troubleshooting.md quotes is what the code says: a message that changes takes its entry along."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
PAGE = REPOSITORY / "docs" / "troubleshooting.md"
VALUE = "…"  # stands for what differs from case to case, here and there
# Said by Kubernetes and its sidecars, by gRPC or by OpenSSL.
NOT_OURS = (
    *(
        "waiting for first consumer",
        "Waiting for a volume to be created",
        "node(s) ",
        "CSINode … does not contain driver",
    ),
    *("failed to get name and namespace template", "Multi-Attach error", "could not find CSI driver", "rpc error"),
    *("failed to connect to all addresses", "CERTIFICATE_VERIFY_FAILED", "Peer name", "Ssl handshake failed"),
    *("had volume node affinity conflict", "UnmountDevice failed"),
)


def quotes() -> Iterator[str]:
    """Code of more than two words in the first cell of each row of a table."""
    for line in PAGE.read_text().splitlines():
        if line.startswith("|"):
            for quote in re.findall(r"`([^`]+)`", line.split("|")[1]):
                if quote.count(" ") > 1 and not quote.startswith("kubectl") and not any(it in quote for it in NOT_OURS):
                    yield quote


@cache
def messages() -> tuple[str, ...]:
    """Every text in our code, with VALUE for what is filled in."""
    found = []
    for folder in ("libs/dpucsi", "services"):
        for file in (REPOSITORY / folder).rglob("*.py"):
            found += [_text(node) for node in ast.walk(ast.parse(file.read_text())) if _is_text(node)]
    return tuple(re.sub(f"{VALUE}+", VALUE, text) for text in found)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else VALUE


def test_the_page_quotes_enough_to_be_worth_it():
    assert len(list(quotes())) > 25


@pytest.mark.parametrize("quote", list(quotes()))
def test_the_code_says_so(quote: str):
    parts = [re.escape(part.strip()) for part in quote.split(VALUE) if part.strip()]
    wanted = re.compile(".*".join(parts), re.DOTALL)
    assert any(map(wanted.search, messages())), f"no message of ours says {quote!r}"
