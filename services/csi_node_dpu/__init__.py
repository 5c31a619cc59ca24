"""csi-node-dpu: the Host's one counterpart on its DPU. Keeps no state."""
