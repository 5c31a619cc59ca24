"""From the driver's name on the command line to the driver."""

from collections.abc import Iterable
from importlib.metadata import entry_points

from dpucsi.dpus.contract import ENTRY_POINT_GROUP, DpuDriver
from dpucsi.dpus.options import split_options
from dpucsi.errors import InvalidArgumentError


def load_driver(name: str, options: Iterable[str]) -> DpuDriver:
    """The driver called `name`, made from `key=value` texts. Raises InvalidArgumentError."""
    found = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in found:
        raise InvalidArgumentError(
            f"no DPU driver is called {name!r}; installed are {', '.join(sorted(found)) or 'none at all'}"
        )
    driver: type[DpuDriver] = found[name].load()
    return driver.from_options(split_options(options))
