"""The NVMe-oF target: subsystems, their namespaces, who may connect, and where."""
