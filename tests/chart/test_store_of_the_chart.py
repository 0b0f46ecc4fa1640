"""The MinIO server as the chart starts it: its command, its environment, a folder as bucket."""

import base64
import io
from pathlib import Path

import urllib3
from background import Background
from go_programs import MINIO, built
from minio import Minio
from object_server import free_port
from rendered_objects import Object, Render, named


def value_of(variable: Object, secret: Object) -> str:
    if "value" in variable:
        return str(variable["value"])
    key = variable["valueFrom"]["secretKeyRef"]["key"]
    return base64.b64decode(secret["data"][key]).decode()


def test_the_server_has_its_bucket_and_takes_the_generated_keys(
    render: Render, tmp_path: Path
) -> None:
    objects = render()
    pod = named(objects, "StatefulSet", "assay-minio")["spec"]["template"]["spec"]
    secret = named(objects, "Secret", "assay-store")
    (tmp_path / "tmp").mkdir()
    bucket = pod["initContainers"][0]["command"]
    assert bucket[:2] == ["mkdir", "-p"]
    (tmp_path / bucket[2].lstrip("/")).mkdir(parents=True)

    [server] = pod["containers"]
    port = free_port()
    folders = {"/data": str(tmp_path / "data"), "/tmp/certs": str(tmp_path / "tmp/certs")}
    arguments = [folders.get(a, a).replace(":9000", f"127.0.0.1:{port}") for a in server["args"]]
    environment = {e["name"]: value_of(e, secret) for e in server["env"]}
    environment["HOME"] = str(tmp_path / "tmp")
    program = [str(built(MINIO)), *arguments]
    running = Background("minio", program, tmp_path / "minio.log", environment)
    running.start()
    try:
        probe = server["readinessProbe"]["httpGet"]["path"]
        running.ready(lambda: answers(f"http://127.0.0.1:{port}{probe}"))
        keys = [base64.b64decode(secret["data"][name]).decode() for name in sorted(secret["data"])]
        client = Minio(f"127.0.0.1:{port}", access_key=keys[0], secret_key=keys[1], secure=False)
        assert [one.name for one in client.list_buckets()] == ["assay"]
        client.put_object("assay", "runs/team/file", io.BytesIO(b"content"), 7)
        found = client.get_object("assay", "runs/team/file")
        assert found.read() == b"content"
        found.release_conn()
    finally:
        running.stop()


def answers(url: str) -> bool:
    try:
        return urllib3.request("GET", url, retries=False, timeout=2).status == 200
    except urllib3.exceptions.HTTPError:
        return False
