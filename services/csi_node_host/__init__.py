"""csi-node-host: the CSI Node service of one Host whose disks come from its DPU."""
