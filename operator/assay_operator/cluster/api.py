"""The API server, in the few calls that the operator makes. Everything else is pure or local."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from kubernetes.client import ApiClient
from kubernetes.client.exceptions import ApiException
from pydantic_core import from_json
from urllib3.exceptions import HTTPError

from assay_api.errors import AssayError
from assay_operator.children.owner import Manifest
from assay_operator.cluster.kinds import BY_NAME, Kind

PAGE = 100
"""Objects in one answer to a list: what they hold beyond need is let go page by page."""
_METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
DEADLINE_SECONDS = 30
"""Of one call."""


class ApiError(AssayError):
    """The API server did not do what was asked; the next look tries again."""


class Conflict(ApiError):
    """The object was changed, or one of this name is there already."""


class Gone(ApiError):
    """There is no such object, or no such kind."""


class Refused(ApiError):
    """The API server will not have this object, however often it is asked."""


class Forbidden(Refused):
    """We have no right to it, or a quota does not allow it."""


class Api(Protocol):
    """What the operator needs of an API server."""

    def items(
        self,
        kind: Kind,
        namespace: str | None = None,
        selector: str = "",
        only_metadata: bool = False,
    ) -> Iterator[Manifest]:
        """Yield all objects of a kind, of one namespace or all; none if there is no such kind."""
        ...

    def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest:
        """Return an object; raise Gone if there is none."""
        ...

    def create(self, manifest: Manifest) -> None:
        """Create an object; raise Conflict if one of its name is there."""
        ...

    def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Set an object, if it still is of the manifest's resourceVersion; else raise Conflict."""
        ...

    def patch_status(self, kind: Kind, manifest: Manifest, status: Mapping[str, Any]) -> Manifest:
        """Set parts of an object's status, if it still is of the manifest's resourceVersion.

        Returns the object as it is then; raises Conflict if it is of another one.
        """
        ...

    def delete(self, kind: Kind, manifest: Manifest) -> None:
        """Delete this very object and what it owns; nothing happens if it is gone."""
        ...


class KubernetesApi:
    """A real API server. Calls may be made from several threads."""

    def __init__(self, client: ApiClient) -> None:
        """Take a client that knows where the server is and who we are."""
        self._client = client

    def items(
        self,
        kind: Kind,
        namespace: str | None = None,
        selector: str = "",
        only_metadata: bool = False,
    ) -> Iterator[Manifest]:
        """Yield all objects of a kind, page by page."""
        accept = _METADATA if only_metadata else "application/json"
        query = {"limit": str(PAGE), **({"labelSelector": selector} if selector else {})}
        while True:
            try:
                page = self._call("GET", kind.path(namespace), query, accept=accept)
            except Gone as error:
                if "continue" not in query:
                    return
                # The list grew too old between two pages.
                raise ApiError(str(error)) from error
            for item in page["items"] or ():
                yield {**item, "apiVersion": kind.api_version, "kind": kind.kind}
            token = page["metadata"].get("continue")
            if not token:
                return
            query["continue"] = token

    def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest:
        """Return an object."""
        found: Manifest = self._call("GET", kind.path(namespace, name))
        return found

    def create(self, manifest: Manifest) -> None:
        """Create an object, unknown fields refused."""
        kind = BY_NAME[manifest["apiVersion"], manifest["kind"]]
        query = {"fieldManager": "assay", "fieldValidation": "Strict"}
        self._call("POST", kind.path(manifest["metadata"]["namespace"]), query, manifest)

    def replace(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Set an object."""
        metadata = manifest["metadata"]
        path = kind.path(metadata.get("namespace"), metadata["name"])
        new: Manifest = self._call("PUT", path, {"fieldManager": "assay"}, manifest)
        return new

    def patch_status(self, kind: Kind, manifest: Manifest, status: Mapping[str, Any]) -> Manifest:
        """Set parts of an object's status by a merge patch."""
        metadata = manifest["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"]) + "/status"
        body = {"metadata": {"resourceVersion": metadata["resourceVersion"]}, "status": status}
        new: Manifest = self._call("PATCH", path, {"fieldManager": "assay"}, body)
        return new

    def delete(self, kind: Kind, manifest: Manifest) -> None:
        """Delete this very object; what it owns follows in the background."""
        metadata = manifest["metadata"]
        body = {
            "propagationPolicy": "Background",
            "preconditions": {"uid": metadata["uid"]},
        }
        try:
            self._call("DELETE", kind.path(metadata["namespace"], metadata["name"]), {}, body)
        except (Gone, Conflict):
            # Gone already, or another object has its name by now.
            return

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        accept: str = "application/json",
    ) -> Any:
        patch = "application/merge-patch+json"
        headers = {
            "Accept": accept,
            "Content-Type": patch if method == "PATCH" else "application/json",
        }
        try:
            response = self._client.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=DEADLINE_SECONDS,
            )
            return from_json(response.data, cache_strings="keys")
        except ApiException as error:
            raise _explained(method, path, error) from None
        except (HTTPError, OSError, ValueError) as error:
            raise ApiError(f"{method} {path}: {error}") from error


def _explained(method: str, path: str, error: ApiException) -> ApiError:
    try:
        message = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        message = str(error.reason)
    text = f"{method} {path}: {error.status}: {message}"
    kinds: dict[int, type[ApiError]] = {
        404: Gone,
        409: Conflict,
        410: Gone,
        400: Refused,
        403: Forbidden,
        413: Refused,
        422: Refused,
    }
    return kinds.get(error.status or 0, ApiError)(text)
