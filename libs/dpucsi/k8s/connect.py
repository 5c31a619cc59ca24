"""Where the API server is and how it is spoken to: a pod's service account, or a kubeconfig."""

from pathlib import Path

from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from kubernetes.aio.config.incluster_config import SERVICE_TOKEN_FILENAME

from dpucsi.errors import InvalidArgumentError
from dpucsi.k8s.api import KubeApi

NAMESPACE_FILE = Path(SERVICE_TOKEN_FILENAME).with_name("namespace")
DEFAULT_NAMESPACE = "default"


async def connect(kubeconfig: Path | None = None) -> KubeApi:
    """No connection is made yet. Raises InvalidArgumentError where it is not said how to make one."""
    configuration = Configuration()
    try:
        if kubeconfig is None:
            load_incluster_config(configuration)
        else:
            await load_kube_config(str(kubeconfig), client_configuration=configuration, persist_config=False)
    except ConfigException as unusable:
        where = f"the kubeconfig {kubeconfig}" if kubeconfig else "the pod's service account"
        raise InvalidArgumentError(
            f"{where} does not say how to reach Kubernetes: {unusable}; outside a pod give --kubeconfig"
        ) from unusable
    except OSError as unreadable:
        raise InvalidArgumentError(f"{unreadable.filename} cannot be read: {unreadable.strerror}") from unreadable
    return KubeApi(ApiClient(configuration))


def namespace() -> str:
    """The namespace of this pod; `default` outside of one, as the CSI sidecars have it."""
    try:
        return NAMESPACE_FILE.read_text().strip() or DEFAULT_NAMESPACE
    except OSError:
        return DEFAULT_NAMESPACE
