"""DPUs: how a card shows NVMe controllers to its Host. ADD A DPU HERE (docs/adding-a-dpu.md)."""

from dpucsi.dpus.contract import DpuDriver, Placement
from dpucsi.dpus.load import load_driver

__all__ = ["DpuDriver", "Placement", "load_driver"]
