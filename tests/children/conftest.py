"""The cases whose children are written down, and how they are rendered."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from assay_api.manifests import load, parse_manifests
from assay_api.platform import Platform
from assay_api.references import identify
from assay_operator.children.build import build_children
from assay_operator.children.owner import Manifest, Owner
from assay_operator.platform_file import load_platform
from assay_operator.preview import preview

GOLDEN = Path(__file__).parent / "golden"
UID = "5c1a9b52-0d1f-4b6e-9f0b-1f2e3d4c5b6a"
Render = Callable[..., list[Manifest]]


def children(path_or_text: Path | str, platform: Platform) -> list[Manifest]:
    """Return the children of all resources of a file or a text."""
    if isinstance(path_or_text, Path):
        resources = load([str(path_or_text)], exists=lambda _: True)
    else:
        resources = parse_manifests(path_or_text, "text.yaml")
    return [
        manifest
        for resource in resources
        for workload in preview(resource, resources, platform.store.url)
        for manifest in build_children(
            workload, Owner(identify(resource), resource.metadata.namespace, UID), platform
        )
    ]


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def platform_of() -> Callable[..., Platform]:
    """Return the named platform, with fields changed."""

    def found(name: str, **changes: Any) -> Platform:
        path = GOLDEN / "platforms" / f"{name}.yaml"
        platform = load_platform(str(path) if path.is_file() else None)
        plain = platform.model_dump(mode="json", by_alias=True)
        return Platform.model_validate({**plain, **changes})

    return found


@pytest.fixture(scope="session")
def rendered(platform_of: Callable[..., Platform]) -> Render:
    """Return the children of a golden input, or of a text, on a platform."""

    def render(what: str, platform: str = "8x40gb", **changes: Any) -> list[Manifest]:
        path = GOLDEN / "input" / f"{what}.yaml"
        return children(path if path.is_file() else what, platform_of(platform, **changes))

    return render


@pytest.fixture(scope="session")
def all_children() -> list[Manifest]:
    """Every manifest that is written down."""
    texts = [path.read_text() for path in sorted(GOLDEN.glob("*.yaml"))]
    return [manifest for text in texts for manifest in yaml.safe_load_all(text)]
