"""The way to a server: where it is and who we are, as the environment says.

The names are those that other S3 programs use:

    AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL    http(s)://host:port of the server; unset: Amazon's
    AWS_REGION, AWS_DEFAULT_REGION           region; unset: us-east-1
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN
    ASSAY_S3_CREDENTIALS                     folder with files of these three names instead, such as
                                             a mounted Secret; read anew when they change
    AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE a credentials file instead
    AWS_CA_BUNDLE, SSL_CERT_FILE             certificates of a private authority
    ASSAY_S3_ADDRESSING                      path or virtual; unset: virtual for Amazon, else path
    ASSAY_S3_DEADLINE_SECONDS                how long an operation is tried again; unset: 300
"""

import logging
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import certifi
import urllib3
from minio.credentials.credentials import Credentials
from minio.credentials.providers import AWSConfigProvider, IamAwsProvider, Provider

from assay_api.errors import InvalidInput
from assay_data.store.bucket import Bucket, Client

AMAZON = "https://s3.amazonaws.com"
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 60.0
_CONNECTIONS = 32

# It tells of each request that it repeats; what takes longer is told by the bucket.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def connect(bucket: str) -> Bucket:
    """Return a bucket, where the environment says it is. Nothing is asked of the server yet.

    Raises:
        InvalidInput: the environment is incomplete or wrong.
    """
    return _connect(bucket, tuple(sorted(_settings(os.environ).items())))


def _settings(env: Mapping[str, str]) -> dict[str, str]:
    """Return what the environment says, without the secrets."""
    found = {
        "endpoint": env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or AMAZON,
        "region": env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1",
        "authorities": env.get("AWS_CA_BUNDLE") or env.get("SSL_CERT_FILE") or certifi.where(),
        "credentials": env.get("ASSAY_S3_CREDENTIALS", ""),
    }
    default = "virtual" if found["endpoint"] == AMAZON else "path"
    found["addressing"] = env.get("ASSAY_S3_ADDRESSING") or default
    return found


@lru_cache(maxsize=8)
def _connect(bucket: str, settings: tuple[tuple[str, str], ...]) -> Bucket:
    found = dict(settings)
    endpoint = urlsplit(found["endpoint"])
    if endpoint.scheme not in ("http", "https") or not endpoint.netloc or endpoint.path.strip("/"):
        raise InvalidInput(
            f"AWS_ENDPOINT_URL={found['endpoint']!r}: allowed is http://HOST:PORT or https://HOST"
        )
    if found["addressing"] not in ("path", "virtual"):
        raise InvalidInput(
            f"ASSAY_S3_ADDRESSING={found['addressing']!r}: allowed are path and virtual"
        )
    if not Path(found["authorities"]).is_file():
        raise InvalidInput(
            f"AWS_CA_BUNDLE (or SSL_CERT_FILE) names {found['authorities']}, which is no file: "
            "give one with certificates in PEM format, or unset it"
        )
    client = Client(
        endpoint.netloc,
        secure=endpoint.scheme == "https",
        region=found["region"],
        credentials=_provider(found["credentials"]),
        http_client=_pool(found["authorities"]),
    )
    if found["addressing"] == "virtual":
        client.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
    else:
        client.disable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
    return Bucket(client, bucket, found["endpoint"])


def _pool(authorities: str) -> urllib3.PoolManager:
    """Return connections that repeat one failed request: a part of an upload, not all of it."""
    retry = urllib3.Retry(
        total=6,
        backoff_factor=0.2,
        backoff_max=5,
        backoff_jitter=0.2,
        status_forcelist=[429, 500, 502, 503, 504],
        # Every request here may be repeated: those that are not idempotent end as NoSuchUpload.
        allowed_methods=None,
        raise_on_status=False,
    )
    return urllib3.PoolManager(
        maxsize=_CONNECTIONS,
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
        retries=retry,
        cert_reqs="CERT_REQUIRED",
        ca_certs=authorities,
    )


def _provider(folder: str) -> Provider:
    """Return where the credentials come from.

    Raises:
        InvalidInput: there are none.
    """
    if folder:
        return SecretFolder(Path(folder))
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return Environment()
    if os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE") or any(
        name.startswith("AWS_CONTAINER_CREDENTIALS_") for name in os.environ
    ):
        return IamAwsProvider()
    provider = AWSConfigProvider()
    try:
        provider.retrieve()
    except ValueError as error:
        raise InvalidInput(
            "no credentials for the object store: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or ASSAY_S3_CREDENTIALS to a folder with files of these names, or "
            f"AWS_SHARED_CREDENTIALS_FILE to a credentials file ({error})"
        ) from error
    return provider


class Environment(Provider):
    """Credentials out of the environment."""

    def retrieve(self) -> Credentials:
        """Return them."""
        return _credentials(os.environ, "the environment")


class SecretFolder(Provider):
    """Credentials in a folder of files, read each time: a mounted Secret may change."""

    def __init__(self, folder: Path) -> None:
        """Name the folder."""
        self._folder = folder

    def retrieve(self) -> Credentials:
        """Return what the files hold now."""
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        paths = {name: self._folder / name for name in names}
        found = {name: path.read_text().strip() for name, path in paths.items() if path.is_file()}
        return _credentials(found, f"ASSAY_S3_CREDENTIALS={self._folder}")


def _credentials(found: Mapping[str, str], where: str) -> Credentials:
    missing = [n for n in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if not found.get(n)]
    if missing:
        raise InvalidInput(f"{where} has no {' and no '.join(missing)}: give both keys")
    return Credentials(
        found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"], found.get("AWS_SESSION_TOKEN")
    )
