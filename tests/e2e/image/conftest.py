import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e.image.image import Image

from dpucsi.testing.lab import Lab
from dpucsi.testing.leftovers import loop_devices, mounts

CHECKOUT = Path(__file__).parents[3]
USER_ID = 65532


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for the build: minutes where nothing is cached and the machine is busy."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """Built by docker/build, outside of the checkout: what has not changed is not built again."""
    if os.geteuid() != 0:
        pytest.skip("a root of its own and mounts need root")
    missing = [name for name in ("buildah", "mmdebstrap") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"the image is not built without {' and '.join(missing)}: deploy/dev/packages image")
    tools = Path(os.environ.get("TOOLS_HOME", Path.home() / ".cache" / "dpucsi-tools"))
    built = subprocess.run(
        [CHECKOUT / "docker" / "build", tools / "image"], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, f"docker/build failed:\n{built.stdout[-3000:]}\n{built.stderr[-3000:]}"
    shared = Path(tempfile.mkdtemp(prefix="dpucsi-image-"))
    shared.chmod(0o755)
    subprocess.run(["mount", "--bind", shared, shared], check=True)
    subprocess.run(["mount", "--make-shared", shared], check=True)
    image = Image(tools / "image", shared)
    try:
        image.unpack()
        yield image
    finally:
        subprocess.run(["umount", shared], check=True)
    shutil.rmtree(shared)


class ImageLab(Lab):
    """The lab whose five services run in the image; the devices at both ends run beside it."""

    async def start(self, name: str) -> None:
        await super().start(name)
        if name == "storage":  # the storage node's, which csi-controller calls over TCP where it is not a test
            os.chown(self.socket(name), USER_ID, USER_ID)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def lab(image: Image) -> AsyncIterator[Lab]:
    """Started once; it ends with nothing left."""
    root = image.shared / "lab"
    lab = ImageLab(root, extra={"card": ("--recovery", "3")}, python=str(image.interpreter()))
    (root / "run").chmod(0o777)
    try:
        await lab.up()
        yield lab
    finally:
        lab.down()
    assert mounts(root) == []
    assert loop_devices(root) == []
    assert list(root.rglob("*.sock")) == []
