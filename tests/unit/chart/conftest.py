import pytest
from tests.unit.chart import chart


@pytest.fixture(autouse=True)
def helm() -> None:
    if not chart.helm_is_there():
        pytest.skip("no helm in $TOOLS_HOME/bin: run 'make kube-tools'")
