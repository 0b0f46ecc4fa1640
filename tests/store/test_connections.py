"""Ways to a server: TLS with a private authority, buckets as names, parts, bounded memory."""

import datetime
import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3.util.connection
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from object_server import ObjectServer

from assay_api import StoreError
from assay_data.store import open_store
from assay_data.store.connection import connect

MIB = 2**20


def write_certificate(folder: Path) -> None:
    """Write a certificate for 127.0.0.1 that signs itself, and its key."""
    folder.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "public.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "private.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def test_a_private_authority_is_trusted_only_when_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_certificate(tmp_path / "certificates")
    server = ObjectServer("minio", tmp_path / "data", certificates=tmp_path / "certificates")
    with server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED"):
            open_store("s3://bucket").write("key", b"value")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "certificates/public.crt"))
        connect("bucket").client.make_bucket("bucket")
        store = open_store("s3://bucket")
        store.write("key", b"value")
        assert store.read("key") == b"value"


@pytest.fixture
def names_of_tests(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Have all names below s3.test lead to this machine; return those that were asked for."""
    asked: list[str] = []
    create = urllib3.util.connection.create_connection

    def here(address: tuple[str, int], *rest: object, **options: object) -> object:
        asked.append(address[0])
        host = "127.0.0.1" if address[0].endswith("s3.test") else address[0]
        return create((host, address[1]), *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(urllib3.util.connection, "create_connection", here)
    yield asked


def test_a_bucket_may_be_a_name_or_a_part_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names_of_tests: list[str]
) -> None:
    with ObjectServer("minio", tmp_path / "data", domain="s3.test") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        connect("bucket").client.make_bucket("bucket")
        open_store("s3://bucket").write("key", b"value")
        assert "bucket.s3.test" not in names_of_tests
        monkeypatch.setenv("ASSAY_S3_ADDRESSING", "virtual")
        assert open_store("s3://bucket").read("key") == b"value"
        assert "bucket.s3.test" in names_of_tests


def test_parts_of_an_upload_that_was_never_completed_are_collected(bucket: str) -> None:
    store, place = open_store(bucket), connect(bucket.removeprefix("s3://"))
    name = place.name
    started = place.client._create_multipart_upload(name, "half/big.bin", {})
    place.client._upload_part(name, "half/big.bin", b"x" * 5 * MIB, None, started, 1)
    journal = json.dumps(["big.bin"]).encode()
    place.client.put_if(name, "half/.assay-publishing.json", journal, {})

    def unfinished() -> list[str]:
        found = place.client._list_multipart_uploads(name, prefix="half/big.bin")
        return [str(upload.object_name) for upload in found.uploads]

    assert unfinished() == ["half/big.bin"]
    assert list(store.collect_garbage(older_than_seconds=-60)) == []
    assert unfinished() == []


PROGRAM = """
import sys
from pathlib import Path
from assay_data.store import open_store

def peak_kib():
    # Not getrusage's: that begins with the peak of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])

store, folder = open_store(sys.argv[1]), Path(sys.argv[2])
store.read("nothing") if store.exists("nothing") else None
before = peak_kib()
store.put("big", folder / "big")
store.get("big", folder / "back")
with store.stream("big") as file:
    while file.read(2**20):
        pass
print((peak_kib() - before) / 1024)
"""


@pytest.mark.parametrize("server", ["minio"], indirect=True)
def test_memory_is_bounded_whatever_the_size_of_a_file(
    server: ObjectServer, bucket: str, tmp_path: Path
) -> None:
    with (tmp_path / "big").open("wb") as file:
        for _ in range(24):
            file.write(os.urandom(16 * MIB))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, bucket, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (tmp_path / "back").stat().st_size == 24 * 16 * MIB
    # Ten parts of 16 MiB on their way at most, of 384 MiB.
    assert float(done.stdout) < 200
