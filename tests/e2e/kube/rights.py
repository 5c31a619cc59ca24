"""What a ServiceAccount may do, from its roles, and what it did, from the API server's audit log."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.kube.objects import Object


@dataclass(frozen=True, order=True)
class Right:
    """`name` is "" where any object of the resource is meant; a subresource stands behind a slash."""

    account: str
    verb: str
    group: str
    resource: str
    name: str = ""

    def __str__(self) -> str:
        named = f" {self.name}" if self.name else ""
        return f"{self.account}: {self.verb} {self.resource}{named} ({self.group or 'core'})"


def granted(roles: Iterable[Object], bindings: Iterable[Object], accounts: Iterable[str]) -> set[Right]:
    """Every right that the `roles` give the `accounts` by the `bindings`."""
    rules = {(role["kind"], role["metadata"]["name"]): role["rules"] for role in roles}
    return {
        right
        for account in accounts
        for binding in bindings
        if any(subject["name"] == account for subject in binding.get("subjects", ()))
        for rule in rules[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
        for right in _rights(account, rule)
    }


def _rights(account: str, rule: Object) -> Iterator[Right]:
    for verb in rule["verbs"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames") or [""]:
                    yield Right(account, verb, group, resource, name)


def used(audit_log: Path) -> tuple[set[Right], set[Right]]:
    """What was allowed and what was forbidden, each right with the object's name and once without.

    A watch that begins with everything there is (sendInitialEvents) is client-go's list, on an API server that offers
    it; on an older one the same client lists.
    """
    allowed: set[Right] = set()
    forbidden: set[Right] = set()
    for line in audit_log.read_text().splitlines():
        event = json.loads(line)
        about = event.get("objectRef")
        if about is None:
            continue
        account = event["user"]["username"].rpartition(":")[2]
        resource = "/".join(part for part in (about["resource"], about.get("subresource")) if part)
        verbs = [event["verb"]]
        if "sendInitialEvents=true" in event["requestURI"]:
            verbs.append("list")
        decision = event["annotations"]["authorization.k8s.io/decision"]
        found = allowed if decision == "allow" else forbidden
        for verb in verbs:
            for name in ("", about.get("name", "")):
                found.add(Right(account, verb, about.get("apiGroup", ""), resource, name))
    return allowed, forbidden
