"""volume-attacher: which volume is on which PCIe function of this DPU, durably, and the OPI calls for it."""
