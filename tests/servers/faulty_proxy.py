"""A way to a real object server on which things go wrong: it injects faults, it fakes no server."""

import http.client
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from threading import Lock

from local_http_server import LocalHttpServer


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for."""

    method: str
    path: str
    """With the query."""
    number: int
    """How many came before it."""
    has_body: bool


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with a request."""

    refuse_with: tuple[int, str] | None = None
    """Status and error code of an answer that does not come from the server."""
    lose_answer: bool = False
    """The server does it, and the connection breaks before its answer."""
    break_after_bytes: int | None = None
    """The connection breaks after so many bytes of the answer's body."""
    flip_answer: bool = False
    """A bit of the answer's body is turned over."""
    flip_body: bool = False
    """A bit of the request's body is turned over."""
    wait_seconds: float = 0.0


Rule = Callable[[Request], Fault | None]


class FaultyProxy(LocalHttpServer):
    """Passes everything on to a server, but for the faults."""

    def __init__(
        self, server_port: int, rule: Rule, server: str = "127.0.0.1", listens: str = "127.0.0.1"
    ) -> None:
        """Name the server, what goes wrong, and this proxy's own address."""
        super().__init__(_Handler, listens)
        self.behind = (server, server_port)
        self.requests: list[Request] = []
        self._rule = rule
        self._lock = Lock()

    def fault_of(self, method: str, path: str, has_body: bool) -> Fault:
        """Return what goes wrong with a request, and remember it."""
        with self._lock:
            request = Request(method, path, len(self.requests), has_body)
            self.requests.append(request)
            return self._rule(request) or Fault()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (its name there)
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.fault_of(self.command, self.path, bool(body))
        time.sleep(fault.wait_seconds)
        if fault.refuse_with:
            self._refuse(*fault.refuse_with)
            return
        status, headers, answer = self._ask(flipped(body) if fault.flip_body else body)
        if fault.lose_answer:
            self.close_connection = True
        else:
            self._answer(status, headers, answer, fault)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Ask the server the same, with the same headers: they are signed."""
        with closing(http.client.HTTPConnection(*self.server.behind)) as connection:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return response.status, headers, response.read()

    def _answer(self, status: int, headers: dict[str, str], answer: bytes, fault: Fault) -> None:
        only_told = self.command == "HEAD"
        headers["content-length"] = (
            headers.get("content-length", "0") if only_told else str(len(answer))
        )
        self.send_response_only(status)
        for name, value in headers.items():
            if name not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        self.end_headers()
        if only_told:
            return
        if fault.break_after_bytes is not None:
            self.close_connection = True
        answer = flipped(answer) if fault.flip_answer else answer
        self.wfile.write(answer[: fault.break_after_bytes])

    def _refuse(self, status: int, code: str) -> None:
        xml = f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode()
        headers = {"content-type": "application/xml", "content-length": str(len(xml))}
        self._answer(status, headers, xml, Fault())


def flipped(data: bytes) -> bytes:
    """Return the bytes with one bit in the middle turned over."""
    if not data:
        return data
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    return bytes(changed)
