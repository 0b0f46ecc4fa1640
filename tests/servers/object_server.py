"""Real object stores on free ports of this machine: MinIO and versitygw."""

import os
import secrets
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import urllib3
from go_programs import MINIO, VERSITYGW, GoProgram, built
from minio import Minio

READY_SECONDS = 60.0
KINDS = {"minio": MINIO, "versitygw": VERSITYGW}


@dataclass
class ObjectServer:
    """A server with its own folder, port and credentials. A context: it stops at the end."""

    kind: str
    folder: Path
    port: int = field(default_factory=lambda: free_port())
    access_key: str = field(default_factory=lambda: secrets.token_hex(8))
    secret_key: str = field(default_factory=lambda: secrets.token_hex(16))
    domain: str = "127.0.0.1"
    """Its name; buckets are names below it too."""
    certificates: Path | None = None
    """Folder with public.crt and private.key: it then speaks TLS (MinIO only)."""
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"{'https' if self.certificates else 'http'}://{self.domain}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a client's environment must say."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    def client(self) -> Minio:
        """Return the MinIO client itself."""
        return Minio(
            f"127.0.0.1:{self.port}", self.access_key, self.secret_key, secure=False,
            region="us-east-1",
        )  # fmt: skip

    def start(self) -> None:
        """Start it, and return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        program: GoProgram = KINDS[self.kind]
        with (self.folder.parent / f"{self.kind}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(built(program)), *self._arguments()],
                env={**os.environ, **self._credentials()},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    def kill(self) -> None:
        """Kill it at once; what it has stored stays."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Stop it, if it runs."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    def _arguments(self) -> list[str]:
        address = f"127.0.0.1:{self.port}"
        if self.kind == "minio":
            console = f"127.0.0.1:{free_port()}"
            tls = ["--certs-dir", str(self.certificates)] if self.certificates else []
            return ["server", "--quiet", *tls, "--address", address, "--console-address", console,
                    str(self.folder)]  # fmt: skip
        return ["--port", address, "posix", str(self.folder)]

    def _credentials(self) -> dict[str, str]:
        if self.kind == "minio":
            domain = {} if self.domain == "127.0.0.1" else {"MINIO_DOMAIN": self.domain}
            return {"MINIO_ROOT_USER": self.access_key, "MINIO_ROOT_PASSWORD": self.secret_key,
                    "MINIO_UPDATE": "off", **domain}  # fmt: skip
        return {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}

    def _answers(self) -> bool:
        url = f"http://127.0.0.1:{self.port}"
        return urllib3.request("GET", url, timeout=2, retries=False).status < 500

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=2):
                    pass
                if self.certificates or self._answers():
                    return
            except (OSError, urllib3.exceptions.HTTPError):
                pass
            time.sleep(0.05)
        log = self.folder.parent / f"{self.kind}.log"
        raise RuntimeError(f"{self.kind} does not answer; its log: {log.read_text()[-2000:]}")


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
