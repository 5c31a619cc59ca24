"""The fake that others are tested with passes the suite that the real ones have to pass."""

import pytest

from dpucsi.testing.backend_conformance import BackendConformance
from dpucsi.testing.fake_backend import FakeBackend


class TestFakeBackend(BackendConformance):
    @pytest.fixture
    def storage_backend(self) -> FakeBackend:
        return FakeBackend()

    @pytest.fixture
    def initiator(self, storage_backend: FakeBackend) -> FakeBackend:
        return storage_backend
