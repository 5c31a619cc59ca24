"""spdk-emulator: answers the part of SPDK's JSON-RPC that the chain uses, where no SPDK and no card are at hand."""
