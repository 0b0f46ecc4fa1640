import os
from collections.abc import Iterator

import pytest
from cluster_addons import install_addons, wait_for_addons
from cluster_user import User
from installed_assay import install_assay, wait_for_assay
from node_images import host_image
from one_node_cluster import OneNodeCluster

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
RECIPE, SMALL, STRANGER = "recipe", "small", "stranger"
"""Namespaces: for the whole recipe, for small stages that meet faults, and one without rights."""


@pytest.fixture(scope="session")
def cluster() -> Iterator[OneNodeCluster]:
    """The one-node cluster with both third-party operators and Assay, by `helm install`."""
    with OneNodeCluster(shows_host=True) as running:
        plane = running.control_plane
        for name in (RECIPE, SMALL, STRANGER):
            metadata = {"name": name, "labels": RESTRICTED}
            plane.admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
            plane.wait_for_namespace(name)
        running.load([host_image()])
        install_addons(running)
        install_assay(running, store={"secretNamespaces": [RECIPE, SMALL]})
        wait_for_assay(running)
        wait_for_addons(running)
        yield running


@pytest.fixture(scope="session")
def whole_recipe() -> bool:
    """Whether the recipe runs with all its steps (`make e2e`), and not in its short form."""
    return os.environ.get("ASSAY_E2E") == "whole"


@pytest.fixture(scope="session")
def recipe_user(cluster: OneNodeCluster) -> User:
    return User(cluster, RECIPE)


@pytest.fixture(scope="session")
def small_user(cluster: OneNodeCluster) -> User:
    return User(cluster, SMALL)
