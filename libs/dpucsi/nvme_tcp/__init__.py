"""NVMe/TCP on the wire, both ends, for the emulated DPU: a lab tool, correct and readable first, then fast.

`pdu` and `stream` turn bytes into PDUs and back without a socket; `command`, `status`, `identify`, `logs` and `fabrics`
are the structures inside; `target` is the controller's end of one queue, `host` the host's end of a whole controller.
"""
