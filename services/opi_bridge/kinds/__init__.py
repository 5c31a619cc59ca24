"""One file per kind of resource: what it is in SPDK, and nothing else. ADD A KIND HERE."""
