"""spdk-emulator-faults: sets faults from a shell, and shows which have acted."""

import argparse
import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from dpucsi.errors import DpucsiError, UnavailableError
from dpucsi.spdk.endpoint import Endpoint
from spdk_emulator.faults.rules import CUTS, OPERATIONS

SET_FAULTS = "emulator_set_faults"
ANSWER_S = 10.0
DESCRIPTION = """\
Makes a running spdk-emulator do something wrong, to see how what is connected to it takes it.

Every rule stays until it is released. Rules already set go on when another one is added.
"""
EXAMPLES = """\
examples:
  %(prog)s --rpc unix:///run/dpu.sock call bdev_nvme_attach_controller --fail -5 "Input/output error" --nth 1
      the next attach is refused, the one after it is not
  %(prog)s --rpc unix:///run/storage.sock call bdev_lvol_create --crash --when after
      the emulator dies as by kill -9 when the next lvol exists, before it says so
  %(prog)s --rpc unix:///run/storage.sock io lvs0/vol --media-error 2048 8
      blocks 2048 to 2055 of the lvol can be neither read nor written
  %(prog)s --rpc unix:///run/storage.sock io lvs0/vol --stall --operations write
      writes to the lvol wait until the rule is released
  %(prog)s --rpc unix:///run/dpu.sock cut path --traddr 192.0.2.7
      the initiator's paths to this address are lost, and do not come back
  %(prog)s --rpc unix:///run/dpu.sock show
  %(prog)s --rpc unix:///run/dpu.sock release 2
      takes the second rule away; without a number: all of them
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry of the console script; exit code 1: the emulator was not reached, or refused."""
    wanted = _parser().parse_args(argv)
    try:
        rules = _set(wanted.rpc, None)
        if wanted.what == "release":
            rules = _set(wanted.rpc, _without(rules, wanted.number))
        elif wanted.what == "set":
            text = sys.stdin.read() if wanted.file == "-" else Path(wanted.file).read_text()
            rules = _set(wanted.rpc, json.loads(text))
        elif wanted.what != "show":
            rules = _set(wanted.rpc, [*_bare(rules), _rule(wanted)])
    except (DpucsiError, OSError, ValueError) as wrong:
        sys.exit(f"spdk-emulator-faults: {wrong}")
    print(json.dumps(rules, indent=2) if wanted.json else _table(rules))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spdk-emulator-faults",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--rpc", required=True, metavar="ENDPOINT", help="JSON-RPC endpoint of the emulator")
    parser.add_argument("--json", action="store_true", help="print the rules as the emulator answers them")
    commands = parser.add_subparsers(dest="what", required=True, metavar="COMMAND")
    commands.add_parser("show", help="the rules that are set, and how often each has acted")
    _add_call(commands.add_parser("call", help="a fault of JSON-RPC calls"))
    _add_io(commands.add_parser("io", help="a fault of reads and writes of a bdev"))
    cut = commands.add_parser("cut", help="a dead network: connections drop and new ones are refused")
    cut.add_argument("kind", choices=CUTS, help="TCP listeners of the target, or paths of the initiator")
    cut.add_argument("--traddr", help="only of this address")
    cut.add_argument("--trsvcid", help="only of this port")
    release = commands.add_parser("release", help="takes rules away; what they kept waiting goes on")
    release.add_argument("number", type=int, nargs="?", help="which, as `show` numbers them (default: all)")
    replace = commands.add_parser("set", help="replaces all rules by those of a JSON file")
    replace.add_argument("file", help="a list of rules, as the documentation of faults describes them; - is the input")
    return parser


def _add_call(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", help="name of the method; * is every one")
    actions = parser.add_mutually_exclusive_group(required=True)
    actions.add_argument("--fail", nargs=2, metavar=("CODE", "MESSAGE"), help="it is refused with this error")
    actions.add_argument("--delay", type=float, metavar="SECONDS", dest="seconds", help="it takes longer")
    actions.add_argument("--drop", action="store_true", help="it is never answered")
    actions.add_argument("--hold", action="store_true", help="it is answered when the rule is released")
    actions.add_argument("--crash", action="store_true", help="the emulator dies, as by kill -9")
    parser.add_argument(
        "--when",
        choices=("before", "after"),
        help="before the call has its effect (the default of --fail and --delay), or after it (of the others)",
    )
    _add_nth(parser, "call")


def _add_io(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bdev", help="name, alias or uuid of the bdev")
    actions = parser.add_mutually_exclusive_group(required=True)
    actions.add_argument("--stall", action="store_true", help="it waits until the rule is released")
    actions.add_argument("--delay", type=float, metavar="SECONDS", dest="seconds", help="it takes longer")
    actions.add_argument(
        "--media-error",
        type=int,
        nargs=2,
        metavar=("LBA", "BLOCKS"),
        help="reads of these blocks end with Unrecovered Read Error, writes with Write Fault",
    )
    parser.add_argument(
        "--operations",
        help=f"only these, separated by commas: {', '.join(OPERATIONS)}",
        type=lambda text: text.split(","),
    )
    _add_nth(parser, "operation")


def _add_nth(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--nth", type=int, metavar="N", help=f"only the nth {what} from now on (default: every one)")


def _rule(wanted: argparse.Namespace) -> dict[str, Any]:
    """The rule of a command, as emulator_set_faults takes it."""
    given = vars(wanted)
    rule = {key: given.get(key) for key in ("method", "bdev", "kind", "traddr", "trsvcid", "seconds")}
    rule |= {key: given.get(key) for key in ("when", "operations", "nth")}
    named = next((action for action in ("drop", "hold", "crash", "stall") if given.get(action)), None)
    rule["action"] = named or ("cut" if wanted.what == "cut" else "delay")
    if given.get("fail"):
        code, rule["message"] = wanted.fail
        rule |= {"action": "fail", "code": int(code)}
    if given.get("media_error"):
        first, count = wanted.media_error
        rule |= {"action": "media_error", "first_lba": first, "num_blocks": count}
    return {key: value for key, value in rule.items() if value is not None}


def _bare(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in rule.items() if key != "hits"} for rule in rules]


def _without(rules: list[dict[str, Any]], number: int | None) -> list[dict[str, Any]]:
    if number is None:
        return []
    if not 1 <= number <= len(rules):
        raise ValueError(f"there is no rule {number}, there are {len(rules)}")
    return [rule for place, rule in enumerate(_bare(rules), start=1) if place != number]


def _table(rules: list[dict[str, Any]]) -> str:
    """One line a rule: its number, how often it acted, what it says."""
    lines = [
        f"{number:3} {rule['hits']:6} hits  {json.dumps(bare)}"
        for number, (rule, bare) in enumerate(zip(rules, _bare(rules), strict=True), start=1)
    ]
    return "\n".join(lines) or "no rules are set"


def _set(endpoint: str, rules: object | None) -> list[dict[str, Any]]:
    """One call on a connection of its own, with nothing before it that a rule could hold back."""
    request: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": SET_FAULTS}
    if rules is not None:
        request["params"] = {"rules": rules}
    answer = _exchange(Endpoint.parse(endpoint), json.dumps(request).encode())
    if "error" in answer:
        raise ValueError(f"refused: {answer['error']['message']}")
    return cast("list[dict[str, Any]]", answer["result"]["rules"])


def _exchange(where: Endpoint, request: bytes) -> dict[str, Any]:
    with _connected(where) as connection:
        connection.sendall(request)
        received = b""
        while more := connection.recv(1 << 20):
            received += more
            try:
                return cast("dict[str, Any]", json.loads(received))
            except ValueError:  # not all of it yet
                continue
    raise UnavailableError(f"{where} closed the connection without an answer; is it an spdk-emulator?")


def _connected(where: Endpoint) -> socket.socket:
    try:
        if where.scheme != "unix":
            return socket.create_connection((where.host, where.port), timeout=ANSWER_S)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(ANSWER_S)
        connection.connect(where.path)
        return connection
    except OSError as refused:
        raise UnavailableError(f"cannot reach {where}: {refused}; is the emulator running?") from refused
