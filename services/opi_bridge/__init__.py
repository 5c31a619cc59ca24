"""opi-bridge: the OPI storage API on SPDK, with desired objects that outlive both."""
