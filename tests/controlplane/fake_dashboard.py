"""Plays the dashboards of all Ray clusters: the job API, as far as KubeRay calls it.

A submitter pod has submitted the job, so it is always there. KubeRay asks
`http://CLUSTER-head-svc.NAMESPACE.svc.cluster.local:8265`. It is started with this server as its
HTTP proxy, so that such names need not resolve.
"""

import json
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from local_http_server import LocalHttpServer
from started import Started


@dataclass(slots=True)
class RayJobInfo:
    """What a dashboard says of one job."""

    status: str = "RUNNING"
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    message: str = ""
    started: float = field(default_factory=time.time)
    """Seconds since 1970."""


class FakeDashboard(Started):
    """A context. A job that nobody has said anything of is RUNNING."""

    def __init__(self) -> None:
        """Listen on a free port of this machine."""
        self.jobs: dict[tuple[str, str], RayJobInfo] = {}
        """By namespace and job ID."""
        self.calls: list[tuple[str, str, str]] = []
        """Method, host and path of every call."""
        self._server = LocalHttpServer(self._handler())

    @property
    def url(self) -> str:
        """Its address."""
        return self._server.endpoint

    def start(self) -> None:
        """Answer from now on."""
        self._server.start()

    def stop(self) -> None:
        """Stop."""
        self._server.stop()

    def tell(self, namespace: str, job_id: str, status: str, message: str = "") -> None:
        """Say how a job stands from now on."""
        job = self.jobs.setdefault((namespace, job_id), RayJobInfo())
        job.status, job.message = status, message

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        dashboard = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                dashboard._answer(self)

            do_POST = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        host = request.headers["Host"]
        path = urlsplit(request.path).path
        self.calls.append((request.command, host, path))
        content = json.dumps(self._told(host, path)).encode()
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    def _told(self, host: str, path: str) -> object:
        namespace = host.split(".")[1]
        job_id, _, what = path.removeprefix("/api/jobs/").partition("/")
        if what == "stop":
            job = self.jobs.setdefault((namespace, job_id), RayJobInfo())
            was_running = job.status in ("PENDING", "RUNNING")
            if was_running:
                job.status = "STOPPED"
            return {"stopped": was_running}
        if what == "logs":
            return {"logs": ""}
        return self._shown(namespace, job_id)

    def _shown(self, namespace: str, job_id: str) -> dict[str, object]:
        job = self.jobs.setdefault((namespace, job_id), RayJobInfo())
        now = int(time.time() * 1000)
        ended = {"end_time": now} if job.status in ("STOPPED", "SUCCEEDED", "FAILED") else {}
        return {
            "submission_id": job_id,
            "job_id": job_id,
            "status": job.status,
            "message": job.message,
            "start_time": int(job.started * 1000),
            **ended,
        }
