"""A judge's server that answers by a rule, as vLLM's does over HTTP."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from local_http_server import LocalHttpServer

Rule = Callable[[str], str | int]
"""What is said to a request's text; a number is a status code."""


@contextmanager
def played_judge(rule: Rule) -> Iterator[str]:
    """Serve while in this block; give the URL up to and including /v1."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            parts = body["messages"][1]["content"]
            said = rule("".join(part.get("text", "") for part in parts))
            status, answer = (said, "") if isinstance(said, int) else (200, said)
            content = json.dumps({"choices": [{"message": {"content": answer}}]}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with LocalHttpServer(Handler) as server:
        yield f"{server.endpoint}/v1"
