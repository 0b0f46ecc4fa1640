import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_addons import install_addons, wait_for_addons
from cluster_user import User
from installed_assay import RECIPE, SMALL, STRANGER, VALUES, install_assay, wait_for_assay
from one_node_cluster import OneNodeCluster
from project_images import load_built_images, load_host_image
from small_course import DATASET

HERE = Path(__file__).parent
_RUNNING: list[OneNodeCluster] = []
_SECONDS = 3000
"""For a test: with the first one that asks for it, the whole recipe runs."""
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture(scope="session")
def cluster() -> Iterator[OneNodeCluster]:
    """The one-node cluster with both third-party operators and Assay, by `helm install`.

    Its images are the machine's own files, or those of the Dockerfile: ASSAY_E2E_IMAGES=built.
    """
    builds = os.environ.get("ASSAY_E2E_IMAGES", "host") == "built"
    with OneNodeCluster(shows_host=not builds) as running:
        plane = running.control_plane
        for name in (RECIPE, SMALL, STRANGER):
            metadata = {"name": name, "labels": RESTRICTED}
            plane.admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
            plane.wait_for_namespace(name)
        tag = load_built_images(running) if builds else load_host_image(running)
        install_addons(running)
        install_assay(running, tag, **VALUES)
        wait_for_assay(running)
        wait_for_addons(running)
        _RUNNING.append(running)
        yield running


@pytest.fixture(scope="session")
def whole_recipe() -> bool:
    """Whether the recipe runs with all its steps (`make e2e`), and not in its short form."""
    return os.environ.get("ASSAY_E2E") == "whole"


@pytest.fixture(scope="session")
def recipe_user(cluster: OneNodeCluster) -> User:
    return User(cluster, RECIPE)


@pytest.fixture(scope="session")
def user(cluster: OneNodeCluster) -> User:
    """A namespace with a small dataset."""
    found = User(cluster, SMALL)
    found.apply(DATASET)
    return found


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give these tests their time."""
    item.add_marker(pytest.mark.timeout(_SECONDS))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let those that start a cluster of their own come before those that share one."""
    own = [item for item in items if HERE in item.path.parents]
    ordered = iter(sorted(own, key=lambda item: "cluster" in getattr(item, "fixturenames", ())))
    items[:] = [next(ordered) if item in own else item for item in items]


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """End the cluster after the last test that needs it: others want its cores and its memory."""
    if nextitem is None or HERE not in nextitem.path.parents:
        while _RUNNING:
            _RUNNING.pop().stop()
