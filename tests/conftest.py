"""Which tests may run beside each other (`pytest -n 2 --dist loadgroup`)."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
# These make real disks. The machine has one set of loop devices, and what one csi-node-host remembers of a dead disk
# must not meet another one's new disk of the same number: a Host has one card and one csi-node-host, and so have we.
_TOGETHER = {
    "Host disks": (
        *("e2e/test_", "e2e/image", "sanity", "contract/attach", "contract/chain", "contract/opi_bridge"),
        *("unit/emulated_card", "unit/csi_node_host", "unit/mount"),
    ),
    "guest": ("e2e/guest",),  # one boot serves all of them
}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist, which looks at the marks in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is named above stays together, everything else goes file by file."""
    for item in items:
        file = item.path.relative_to(TESTS).as_posix()
        group = next((name for name, starts in _TOGETHER.items() if file.startswith(starts)), file)
        item.add_marker(pytest.mark.xdist_group(group))
