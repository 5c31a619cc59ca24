"""What counts as bytes here."""

from typing import TypeAlias

Buffer: TypeAlias = "bytes | bytearray | memoryview"
