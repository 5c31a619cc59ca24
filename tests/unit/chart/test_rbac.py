"""Who may do what: a ServiceAccount per role, and nothing for a DPU."""

import pytest
from tests.unit.chart.chart import CERT_MANAGER, EVERYTHING, LAB, OUTSIDE, WORKLOADS, Object, of_kind, render


def bindings(objects: list[Object], account: str) -> list[Object]:
    kinds = ("ClusterRoleBinding", "RoleBinding")
    return [
        one
        for one in objects
        if one["kind"] in kinds and any(subject["name"] == account for subject in one["subjects"])
    ]


def rules(objects: list[Object], account: str) -> list[Object]:
    """The rules of all roles bound to `account`."""
    found = []
    for binding in bindings(objects, account):
        (role,) = of_kind(objects, binding["roleRef"]["kind"], binding["roleRef"]["name"])
        found += role["rules"]
    return found


@pytest.mark.parametrize("values", [LAB, OUTSIDE, CERT_MANAGER], ids=lambda file: file.name)
def test_each_role_has_its_own_account(values):
    objects = render(values)
    accounts = {one["metadata"]["name"] for one in of_kind(objects, "ServiceAccount")}
    pods = {
        one["metadata"]["name"]: one["spec"]["template"]["spec"] for kind in WORKLOADS for one in of_kind(objects, kind)
    }
    assert {pod["serviceAccountName"] for pod in pods.values()} == accounts == set(pods)


def test_a_dpu_has_no_token_and_no_rights():
    objects = render(CERT_MANAGER, *EVERYTHING)
    (account,) = of_kind(objects, "ServiceAccount", "dpucsi-dpu")
    assert account["automountServiceAccountToken"] is False
    assert bindings(objects, "dpucsi-dpu") == []
    for name in ("dpucsi-dpu", "dpucsi-spdk"):
        (pods,) = of_kind(objects, "DaemonSet", name)
        pod = pods["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] == "dpucsi-dpu"
        assert pod["automountServiceAccountToken"] is False
        assert not any("projected" in volume for volume in pod["volumes"])


def test_a_host_looks_and_does_nothing():
    assert rules(render(LAB), "dpucsi-host") == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "watch"]},
        {"apiGroups": ["storage.k8s.io"], "resources": ["volumeattachments"], "verbs": ["get"]},
    ]


def test_no_rule_has_a_wildcard_or_reaches_secrets():
    for account in ("dpucsi-controller", "dpucsi-host"):
        for rule in rules(render(LAB, *EVERYTHING), account):
            for words in rule.values():
                assert "*" not in words
            assert "secrets" not in rule["resources"]


def test_rights_of_sidecars_that_are_off_are_not_given():
    def resources(*options: str) -> set[str]:
        return {name for rule in rules(render(LAB, *options), "dpucsi-controller") for name in rule["resources"]}

    more = resources(*EVERYTHING) - resources()
    assert more == {
        *("volumesnapshots", "volumesnapshotcontents", "volumesnapshotcontents/status", "volumesnapshotclasses"),
        *("volumeattributesclasses", "persistentvolumeclaims/status"),
    }


def test_leases_are_those_of_this_driver():
    objects = render(LAB, *EVERYTHING, "--set", "driverName=other.example.com")
    named = [rule for rule in rules(objects, "dpucsi-controller") if "resourceNames" in rule]
    (leases,) = named
    assert leases["resourceNames"] == [
        "other-example-com",
        "external-attacher-leader-other-example-com",
        "external-resizer-other-example-com",
        "external-snapshotter-leader-other-example-com",
    ]
