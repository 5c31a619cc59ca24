"""How the guest's kernel is had; no guest is started."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.guest import kernel


def test_of_two_that_come_together_one_fetches_it(tmp_path, monkeypatch):
    """The second one's rename met the first one's kernel, and every test with a guest failed on a new machine."""
    fetched = []
    both_fetch = threading.Barrier(2)

    def fetch(cache):
        with contextlib.suppress(threading.BrokenBarrierError):
            both_fetch.wait(0.3)
        folder = cache / "6.1.0"
        fetched.append(folder)
        folder.mkdir()
        (folder / "vmlinux").touch()
        return kernel.Kernel(folder, folder.name)

    monkeypatch.setattr(kernel, "_fetch", fetch)
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(kernel.ensure_kernel, [tmp_path / "cache"] * 2)
    assert one == two and len(fetched) == 1
