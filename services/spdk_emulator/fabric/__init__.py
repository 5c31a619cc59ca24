"""The hop between two emulators: a session protocol of our own over TCP, in the place of NVMe/TCP."""
