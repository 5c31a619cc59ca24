"""File systems on the Host: probe, the never-format decision, format, mount, statistics."""
