import json
from typing import Any

import pytest
from control_plane import ControlPlane

from assay_api.crd.definitions import NAMINGS, definition


@pytest.fixture(scope="session")
def assay_crds(control_plane: ControlPlane) -> list[dict[str, Any]]:
    """The custom resources' definitions, applied and served."""
    definitions = [json.loads(json.dumps(definition(kind))) for kind in NAMINGS]
    control_plane.apply_crds(definitions)
    return definitions
