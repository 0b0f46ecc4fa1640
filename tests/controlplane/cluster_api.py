"""A small client of the Kubernetes API: what tests and fakes need, and nothing hidden."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
import yaml

Object = dict[str, Any]
WAIT_SECONDS = 30.0
BUSY_SECONDS = 15.0
SHOWN_CHARACTERS = 6000
JSON = "application/json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


class ApiError(Exception):
    """The API server refused."""

    def __init__(self, status: int, body: Object) -> None:
        """Hold the HTTP status, and reason and message as the server gave them."""
        self.status = status
        self.reason = str(body.get("reason", ""))
        self.message = str(body.get("message", ""))
        super().__init__(f"{status} {self.reason}: {self.message}")


@dataclass
class ClusterApi:
    """Speaks to one API server as one user. Threads may share it."""

    server: str
    authority: Path
    certificate: tuple[Path, Path] | None = None
    """Certificate and key; or a token."""
    token: str | None = None
    _resources: dict[tuple[str, str], Object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the pool of connections."""
        certificate, key = self.certificate or (None, None)
        self._pool = urllib3.PoolManager(
            maxsize=8,
            ca_certs=str(self.authority),
            cert_file=str(certificate) if certificate else None,
            key_file=str(key) if key else None,
            timeout=urllib3.Timeout(connect=5, read=30),
            retries=False,
        )

    def request(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        content_type: str = JSON,
        **query: str,
    ) -> Any:
        """Send one request; the answer's JSON, or its text.

        Raises:
            ApiError: the server answered with an error.
        """
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        url = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        content = None if body is None else json.dumps(body).encode()
        answer = self._pool.request(method, url, body=content, headers=headers)
        deadline = time.monotonic() + BUSY_SECONDS
        # The server is busy: so it says of a new definition's storage too.
        while answer.status == 429 and time.monotonic() < deadline:
            time.sleep(0.1)
            answer = self._pool.request(method, url, body=content, headers=headers)
        text = answer.data.decode()
        is_json = "json" in answer.headers.get("Content-Type", "")
        found = json.loads(text) if is_json else text
        if answer.status >= 400:
            raise ApiError(answer.status, found if isinstance(found, dict) else {"message": text})
        return found

    def path(
        self, api_version: str, kind: str, namespace: str | None = None, name: str | None = None
    ) -> str:
        """Return the path of a kind's list or of one object; the server names its resources."""
        key = (api_version, kind)
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        if key not in self._resources:
            for resource in self.request("GET", root)["resources"]:
                if "/" not in resource["name"]:
                    self._resources[api_version, resource["kind"]] = resource
        resource = self._resources[key]
        if resource["namespaced"] and namespace:
            root += f"/namespaces/{namespace}"
        return f"{root}/{resource['name']}" + (f"/{name}" if name else "")

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object:
        """Return one object.

        Raises:
            ApiError: 404, it is not there.
        """
        found: Object = self.request("GET", self.path(api_version, kind, namespace, name))
        return found

    def find(
        self, api_version: str, kind: str, name: str, namespace: str | None = None
    ) -> Object | None:
        """Return one object, or none if it is not there."""
        try:
            return self.get(api_version, kind, name, namespace)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def items(
        self, api_version: str, kind: str, namespace: str | None = None, **query: str
    ) -> list[Object]:
        """Return the objects of a kind: of one namespace, or of all."""
        listed = self.request("GET", self.path(api_version, kind, namespace), None, JSON, **query)
        return [{"apiVersion": api_version, "kind": kind, **item} for item in listed["items"]]

    def create(self, manifest: Object, **query: str) -> Object:
        """Create an object; unknown fields are an error."""
        path = self.path(manifest["apiVersion"], manifest["kind"], _namespace(manifest))
        made: Object = self.request("POST", path, manifest, JSON, fieldValidation="Strict", **query)
        return made

    def apply(self, manifest: Object, manager: str = "tests", **query: str) -> Object:
        """Apply on the server's side, with force; unknown fields are an error."""
        metadata = manifest["metadata"]
        path = self.path(
            manifest["apiVersion"], manifest["kind"], _namespace(manifest), metadata["name"]
        )
        rules = {"fieldManager": manager, "force": "true", "fieldValidation": "Strict", **query}
        made: Object = self.request("PATCH", path, manifest, APPLY, **rules)
        return made

    def patch(
        self,
        manifest: Object,
        changes: Object,
        subresource: str = "",
        content_type: str = MERGE,
    ) -> Object:
        """Change an object, named by any manifest of it, or its `subresource`."""
        path = self._of(manifest) + (f"/{subresource}" if subresource else "")
        patched: Object = self.request("PATCH", path, changes, content_type)
        return patched

    def delete(self, manifest: Object, grace_seconds: int | None = None) -> None:
        """Delete an object, named by any manifest of it; its dependents go in the background."""
        options: Object = {"propagationPolicy": "Background"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            self.request("DELETE", self._of(manifest), options)
        except ApiError as error:
            if error.status != 404:
                raise

    def wait(
        self,
        what: str,
        condition: Callable[[], Any],
        seconds: float = WAIT_SECONDS,
        shown: Callable[[], Any] | None = None,
        pause_seconds: float = 0.1,
    ) -> Any:
        """Ask until the answer is true, and return it; 404 counts as not yet.

        Args:
            what: what is waited for, for the error.
            condition: asked again and again.
            seconds: how long at most.
            shown: what the error shows besides.
            pause_seconds: between two questions.

        Raises:
            TimeoutError: it did not come true in time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if found := condition():
                    return found
            except ApiError as error:
                if error.status != 404:
                    raise
            time.sleep(pause_seconds)
        state = "" if shown is None else shown()
        text = state if isinstance(state, str) else json.dumps(state, indent=1)
        raise TimeoutError(f"{what}: not within {seconds:.0f} s\n{text[:SHOWN_CHARACTERS]}")

    def _of(self, manifest: Object) -> str:
        metadata = manifest["metadata"]
        return self.path(
            manifest["apiVersion"], manifest["kind"], _namespace(manifest), metadata["name"]
        )


def _namespace(manifest: Mapping[str, Any]) -> str | None:
    namespace: str | None = manifest["metadata"].get("namespace")
    return namespace


def write_kubeconfig(path: Path, api: ClusterApi, namespace: str = "default") -> Path:
    """Write a kubeconfig for a client's server and user."""
    user: Object = {}
    if api.token:
        user = {"token": api.token}
    elif api.certificate:
        certificate, key = api.certificate
        user = {"client-certificate": str(certificate), "client-key": str(key)}
    server = {"server": api.server, "certificate-authority": str(api.authority)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": server}],
        "users": [{"name": "tests", "user": user}],
        "contexts": [
            {
                "name": "tests",
                "context": {"cluster": "tests", "user": "tests", "namespace": namespace},
            }
        ],
        "current-context": "tests",
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content))
    return path
