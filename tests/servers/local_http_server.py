"""An HTTP server of this process's own, beside the tests."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from started import Started


class LocalHttpServer(Started, ThreadingHTTPServer):
    """Listens on a port of its own. A context: it stops at the end."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler], listens: str = "127.0.0.1") -> None:
        """Listen at an address of this machine."""
        super().__init__((listens, 0), handler)
        self._thread = Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    @property
    def endpoint(self) -> str:
        """Its address."""
        host, port, *_ = self.server_address
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop it."""
        self.shutdown()
        self.server_close()
