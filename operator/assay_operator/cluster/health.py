"""Liveness and metrics over HTTP: alive is who looked at the API server with success lately."""

import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, start_http_server

ALIVE_SECONDS = 120.0
"""Without a look for this long the process is better started anew."""


class Heartbeat:
    """When the loop last reached the API server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start as if it just had: the first look has its time too."""
        self._clock = clock
        self._last = clock()

    def beat(self) -> None:
        """Note a look with success."""
        self._last = self._clock()

    @property
    def silent_seconds(self) -> float:
        """Time since the last look with success."""
        return self._clock() - self._last


def serve_health(heartbeat: Heartbeat, port: int) -> ThreadingHTTPServer:
    """Answer `/healthz` with 200 while the heart beats, else with 503, in a thread."""

    class Handler(BaseHTTPRequestHandler):
        """Answers one request."""

        def do_GET(self) -> None:
            """Answer `/healthz`; there is nothing else."""
            silent = heartbeat.silent_seconds
            status = HTTPStatus.OK if silent < ALIVE_SECONDS else HTTPStatus.SERVICE_UNAVAILABLE
            if self.path != "/healthz":
                status = HTTPStatus.NOT_FOUND
            body = f"last look {silent:.0f} s ago\n".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing: a probe every few seconds is no news."""

    server = ThreadingHTTPServer(("", port), Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server


def serve_metrics(registry: CollectorRegistry, port: int) -> None:
    """Answer `/metrics` in a thread."""
    start_http_server(port, registry=registry)
