"""The emulated DPU: its card shows every folder under `<card>/functions` as a PCIe function (design section 8).

To SPDK's JSON-RPC it is the vfio-user card in another place, and that is all that is written here.
"""

from collections.abc import Mapping
from typing import Self

from dpucsi.dpus.options import folder, function_list, known_options
from dpucsi.dpus.vfio_user import VfioUserDriver


class EmulatedDriver(VfioUserDriver):
    """Functions of an emulated card."""

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Options: `card` (absolute path, the same as emulated-card's --folder), `functions` (default: any)."""
        known_options("emulated", options, ("card", "functions"))
        return cls(folder("emulated", options, "card") / "functions", function_list(options))
