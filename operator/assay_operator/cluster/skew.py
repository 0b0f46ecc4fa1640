"""Skew: whether the definitions in the cluster are those that this operator was built with."""

from collections.abc import Mapping

from assay_operator.cluster.api import Api, ApiError, Gone
from assay_operator.cluster.kinds import (
    CUSTOM_RESOURCE_DEFINITION,
    PYTORCH_JOB,
    RAY_JOB,
    RESOURCES,
    Kind,
)

SCHEMA_ANNOTATION = "assay.dev/schema-sha256"
"""On our definitions: SHA-256 of the schema they were generated with."""


def skew(api: Api, digests: Mapping[str, str]) -> list[str]:
    """Return what is missing or of another version, and what to do about it.

    Args:
        api: the API server.
        digests: SHA-256 of the schema of each of our kinds.
    """
    problems = []
    for kind in RESOURCES:
        try:
            found = api.get(CUSTOM_RESOURCE_DEFINITION, None, _name(kind))
        except Gone:
            problems.append(
                f"{_name(kind)} is not installed: `kubectl apply -k manifests/crds`, or "
                "`helm upgrade` with crds.install=true"
            )
            continue
        except ApiError:
            # Not ours to read in a namespaced installation: then there is nothing to compare.
            continue
        there = (found["metadata"].get("annotations") or {}).get(SCHEMA_ANNOTATION, "none")
        if there != digests[kind.kind]:
            problems.append(
                f"{_name(kind)} has schema {there[:12]}, this operator was built with "
                f"{digests[kind.kind][:12]}: the server would drop fields; install both of one "
                "version"
            )
    for kind, who in ((PYTORCH_JOB, "training-operator"), (RAY_JOB, "KubeRay")):
        if _is_missing(api, kind):
            problems.append(f"{_name(kind)} is not installed: install {who}; its stages wait")
    return problems


def _is_missing(api: Api, kind: Kind) -> bool:
    try:
        api.get(CUSTOM_RESOURCE_DEFINITION, None, _name(kind))
    except Gone:
        return True
    except ApiError:
        return False
    return False


def _name(kind: Kind) -> str:
    return f"{kind.plural}.{kind.api_version.split('/')[0]}"
