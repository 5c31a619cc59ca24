"""What may not run beside each other does not."""

import os

import pytest


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one test at a time: nothing runs beside another")
def test_the_workers_know_the_groups(request: pytest.FixtureRequest):
    """pytest-xdist keeps together what has the same group behind its name; a mark alone, set too late, does nothing."""
    names = {item.nodeid.partition("::")[0]: item.nodeid.rpartition("@")[2] for item in request.session.items}
    groups = {file: name for file, name in names.items() if file.startswith("tests/unit/csi_node_host/")}
    assert set(groups.values()) <= {"Host disks"}
    assert request.node.nodeid.endswith("@unit/test_groups.py")
