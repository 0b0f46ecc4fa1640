"""Follows every change of a namespace's jobs and pods, and notes what must never be.

It watches, instead of looking now and then: no state of the cluster goes by unseen, however short.
"""

import json
import threading
import time
from collections import defaultdict
from types import TracebackType
from typing import Any, Self

import urllib3
from cluster_api import ApiError, ClusterApi

from assay_operator.children.owner import CHILD_SELECTOR, LABEL_ATTEMPT, LABEL_KIND, LABEL_NAME
from assay_operator.policies.evidence import evidence_of

Object = dict[str, Any]
OwnerName = tuple[str, str]
WATCH_SECONDS = 5
KINDS = (
    ("v1", "Pod"),
    ("kubeflow.org/v1", "PyTorchJob"),
    ("ray.io/v1", "RayJob"),
    ("batch/v1", "Job"),
)


class Overseer:
    """A context: threads that watch, one for each kind."""

    def __init__(self, api: ClusterApi, namespace: str) -> None:
        """Watch a namespace with a client that may list everything."""
        self._api, self._namespace = api, namespace
        self._objects: dict[str, dict[str, Object]] = {kind: {} for _, kind in KINDS}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._pool = _pool(api)
        self._threads = [
            threading.Thread(target=self._follow, args=kind, name=f"overseer-{kind[1]}")
            for kind in KINDS
        ]
        self.problems: list[str] = []
        """What must never be: two attempts of one resource at once."""
        self.names: dict[str, set[str]] = defaultdict(set)
        """The identities that each job's name has had."""
        self.changes = 0
        """Changes seen."""

    def __enter__(self) -> Self:
        """Watch from now on."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def jobs(self) -> list[Object]:
        """Return the jobs that are there."""
        with self._lock:
            return [o for _, kind in KINDS[1:] for o in self._objects[kind].values()]

    def pods(self, job: Object) -> list[Object]:
        """Return the pods of a job's attempt."""
        wanted = _attempt(job)
        with self._lock:
            return [pod for pod in self._objects["Pod"].values() if _attempt(pod) == wanted]

    def _follow(self, version: str, kind: str) -> None:
        path = self._api.path(version, kind, self._namespace)
        since = ""
        while not self._end.is_set():
            try:
                since = since or self._list(version, kind, path)
                since = self._watch(version, kind, path, since)
            except (ApiError, urllib3.exceptions.HTTPError, OSError, ValueError):
                # The server is away, or has forgotten that version: look, and go on from there.
                since = ""
                time.sleep(0.2)

    def _list(self, version: str, kind: str, path: str) -> str:
        listed = self._api.request("GET", path, labelSelector=CHILD_SELECTOR)
        typed = {"apiVersion": version, "kind": kind}
        with self._lock:
            self._objects[kind] = {
                item["metadata"]["uid"]: {**typed, **item} for item in listed["items"]
            }
            self._look(kind)
        return str(listed["metadata"]["resourceVersion"])

    def _watch(self, version: str, kind: str, path: str, since: str) -> str:
        query = {
            "watch": "1",
            "labelSelector": CHILD_SELECTOR,
            "resourceVersion": since,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        answer = self._pool.request(
            "GET", f"{self._api.server}{path}", fields=query, preload_content=False
        )
        try:
            for line in answer:
                change = json.loads(line)
                if change["type"] == "ERROR":
                    return ""
                found = {"apiVersion": version, "kind": kind, **change["object"]}
                self._take(kind, change["type"], found)
                since = found["metadata"]["resourceVersion"]
        finally:
            answer.release_conn()
        return since

    def _take(self, kind: str, change: str, found: Object) -> None:
        with self._lock:
            self.changes += 1
            uid = found["metadata"]["uid"]
            if change == "DELETED":
                self._objects[kind].pop(uid, None)
                return
            self._objects[kind][uid] = found
            if kind != "Pod":
                self.names[found["metadata"]["name"]].add(uid)
            self._look(kind)

    def _look(self, kind: str) -> None:
        alive: dict[OwnerName, set[str]] = defaultdict(set)
        for found in self._objects[kind].values():
            owner, attempt = _attempt(found)
            if _is_alive(found):
                alive[owner].add(attempt)
        for owner, attempts in alive.items():
            if len(attempts) > 1:
                numbers = ", ".join(sorted(attempts))
                self.problems.append(f"{kind}s of {'/'.join(owner)}: attempts {numbers} at once")


def _pool(api: ClusterApi) -> urllib3.PoolManager:
    certificate, key = api.certificate or (None, None)
    return urllib3.PoolManager(
        ca_certs=str(api.authority),
        cert_file=str(certificate),
        key_file=str(key),
        timeout=urllib3.Timeout(connect=5, read=WATCH_SECONDS + 5),
        retries=False,
        maxsize=len(KINDS),
    )


def _attempt(found: Object) -> tuple[OwnerName, str]:
    labels = found["metadata"]["labels"]
    return (labels[LABEL_KIND], labels[LABEL_NAME]), labels[LABEL_ATTEMPT]


def _is_alive(found: Object) -> bool:
    """Tell whether something may be at work; a pod is until its containers have ended."""
    if found["kind"] == "Pod":
        return found.get("status", {}).get("phase") not in ("Succeeded", "Failed")
    return not evidence_of(found, ()).ended
