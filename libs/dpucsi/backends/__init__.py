"""ADD A STORAGE BACKEND HERE: contract.py is the screen to read, docs/adding-a-storage-backend.md the way to go."""

from dpucsi.backends.contract import Capacity, SizeRange, StorageBackend, Volume
from dpucsi.backends.load import load_backends

__all__ = ["Capacity", "SizeRange", "StorageBackend", "Volume", "load_backends"]
