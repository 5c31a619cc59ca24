"""The PCIe side of the emulated DPU: a process that shows SPDK's front-end namespaces as the Host's disks."""
