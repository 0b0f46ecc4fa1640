"""Which cluster to talk to, and as whom: the pod's own ServiceAccount, or KUBECONFIG."""

import os
from pathlib import Path

import yaml
from kubernetes import config
from kubernetes.client import ApiClient, Configuration

from assay_api.errors import InvalidInput

_IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def connect(connections: int, *, retries: bool = True) -> ApiClient:
    """Return a client of the cluster.

    Args:
        connections: that are kept open.
        retries: whether a server that can't be reached is tried again at once.

    Raises:
        InvalidInput: there is no cluster to talk to.
    """
    configuration = Configuration()
    try:
        if "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(client_configuration=configuration)
    except (config.ConfigException, yaml.YAMLError, OSError) as error:
        raise InvalidInput(
            f"no cluster to talk to: {error}; set KUBECONFIG, or run in a pod"
        ) from error
    configuration.connection_pool_maxsize = connections
    if not retries:
        configuration.retries = False
    return ApiClient(configuration)


def namespace_of_context() -> str:
    """Return the namespace that kubectl would take: the pod's, the context's, or default.

    Raises:
        InvalidInput: there is no cluster to talk to.
    """
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return _IN_POD.read_text().strip() if _IN_POD.is_file() else "default"
    try:
        _, active = config.list_kube_config_contexts()
    except (config.ConfigException, yaml.YAMLError, OSError) as error:
        raise InvalidInput(
            f"no cluster to talk to: {error}; set KUBECONFIG, or run in a pod"
        ) from error
    return str(active["context"].get("namespace") or "default")
