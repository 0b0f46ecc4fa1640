"""Servers on this machine: a port for one, and whether it answers."""

import contextlib
import http.client
import socket

from assay_api.errors import InvalidInput
from assay_api.layout import ResourceId

HOST = "127.0.0.1"
_ANSWER_WITHIN_SECONDS = 1.0


def choose_port(resource: ResourceId, requested: int) -> int:
    """Return the port that was asked for, or for 0 one that is free now.

    Raises:
        InvalidInput: the port is in use.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, requested))
        except OSError as error:
            raise InvalidInput(
                f"{resource}: field spec.port: got {requested}, which can't be used on this "
                f"machine ({error.strerror}); give another port, or 0 for any that is free"
            ) from None
        port: int = probe.getsockname()[1]
    return port


def base_url(port: int) -> str:
    """Return the base URL of a server on this machine, up to and including /v1."""
    return f"http://{HOST}:{port}/v1"


def is_healthy(port: int) -> bool:
    """Tell whether the server answers GET /health with 200."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_ANSWER_WITHIN_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
