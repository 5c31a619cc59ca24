"""Who has a volume is named as people know it."""

from uuid import UUID, uuid4

import pytest
from tests.unit.csi_controller.requests import mount

from csi_controller.access import choose_hostnqn
from dpucsi import naming
from dpucsi.backends import Volume
from dpucsi.csi.capabilities import parse_capability
from dpucsi.errors import FailedPreconditionError

DPU = UUID("836ec506-98f5-4b37-990e-83bca2091e74")


@pytest.mark.parametrize(
    ("hostnqn", "named"),
    [
        (naming.hostnqn(DPU, "01234567"), f"is published to node host-a (DPU {DPU});"),
        (naming.hostnqn(UUID(int=1), "01234567"), f"is published to DPU {UUID(int=1)};"),
        ("nqn.2014-08.org.example:x", "is published to host nqn.2014-08.org.example:x;"),
    ],
)
def test_a_volume_that_is_taken_says_by_which_node(hostnqn: str, named: str) -> None:
    volume_id = naming.VolumeId("pool-a", uuid4())
    volume = Volume(volume_id.uuid, 1, hosts=(hostnqn,))
    with pytest.raises(FailedPreconditionError) as refused:
        choose_hostnqn(
            volume_id,
            volume,
            naming.NodeId("host-b", uuid4()),
            parse_capability(mount()),
            lambda dpu: "host-a" if dpu == DPU else "",
        )
    assert named in str(refused.value)
