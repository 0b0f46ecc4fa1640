"""A bucket: its objects by name, what its errors mean, and when to try again."""

import errno
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from xml.etree.ElementTree import ParseError

import tenacity
import urllib3
from minio import Minio
from minio.commonconfig import ComposeSource, CopySource
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from assay_api.errors import InvalidInput, StoreError

T = TypeVar("T")
Headers = dict[str, str | list[str] | tuple[str]]
"""As the MinIO client wants them."""

DEADLINE_SECONDS = 300.0
SHA256_HEADER = "x-amz-meta-sha256"
MAX_COPY_BYTES = 5 * 2**30
"""Larger objects are copied in parts."""
_TRIES_IF_DAMAGED = 2
"""After the first."""
_LOG = logging.getLogger(__name__)

_TRANSIENT = frozenset(
    "BadDigest IncompleteBody InternalError NoSuchUpload OperationAborted RequestTimeout "
    "ServiceUnavailable SlowDown SlowDownRead SlowDownWrite ThrottlingException TooManyRequests "
    "XAmzContentSHA256Mismatch XMinioServerNotInitialized".split()
)
"""Codes of errors that go away: the same request, or the whole upload, may succeed later."""

_UNKNOWN_KEY = (
    "the server does not know this access key: correct AWS_ACCESS_KEY_ID (or the file or Secret "
    "that holds it)"
)
_ADVICE = {
    "NoSuchBucket": "there is no such bucket: create it, or correct the address",
    "AccessDenied": "these credentials may not do that: allow it, or use others",
    "AllAccessDisabled": "these credentials may not do that: allow it, or use others",
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "XAdminUserNotFound": _UNKNOWN_KEY,
    "SignatureDoesNotMatch": "the secret key is wrong: correct AWS_SECRET_ACCESS_KEY (or the file "
    "or Secret that holds it)",
    "ExpiredToken": "the session has ended: get new credentials",
    "RequestTimeTooSkewed": "the clocks of this machine and of the server differ by more than "
    "15 minutes: set them right",
    "XMinioStorageFull": "the server's disk is full: free some space, then run it again",
    "XMinioAdminBucketQuotaExceeded": "the bucket is full: raise its quota or free some space",
    "QuotaExceeded": "the bucket is full: raise its quota or free some space",
    "NoSpaceLeft": "the server's disk is full: free some space, then run it again",
    "PreconditionFailed": "it was replaced meanwhile: read it again",
    "MethodNotAllowed": "the server does not allow that here: is the bucket read-only?",
}


class Damaged(Exception):
    """What came was not what was sent; asked again it may be right."""


_FAILURES = (MinioException, urllib3.exceptions.HTTPError, ConnectionError, ParseError, Damaged)
"""What an operation on a bucket raises, for a moment or for good."""


class Client(Minio):
    """The MinIO client, with the two requests that it lacks."""

    def put_if(self, bucket: str, key: str, data: bytes, headers: Mapping[str, str]) -> bool:
        """Put an object under `If-Match` or `If-None-Match`; tell whether that held."""
        try:
            self._put_object(bucket, key, data, dict(headers))
        except S3Error as error:
            # The second: two such requests at the same time, and the other one won.
            if error.code in ("PreconditionFailed", "ConditionalRequestConflict"):
                return False
            raise
        return True

    def abandon_uploads(self, bucket: str, key: str) -> None:
        """Abort all uploads in parts of an object."""
        found = self._list_multipart_uploads(bucket, prefix=key)
        for upload in found.uploads:
            if upload.object_name == key and upload.upload_id:
                self._abort_multipart_upload(bucket, key, upload.upload_id)


@dataclass(frozen=True, slots=True)
class Object:
    """What the server tells of an object."""

    size_bytes: int
    modified: datetime
    etag: str
    """Changes with the content."""
    sha256: str | None
    """As it was recorded when it was written; None: it was not, or was not asked for."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of a server. Its methods raise StoreError, and FileNotFoundError for no object."""

    client: Client
    name: str
    endpoint: str
    """Address of the server, for messages."""

    def stat(self, key: str) -> Object | None:
        """Return what the server tells of an object; None when there is none."""

        def ask() -> Object:
            found = self.client.stat_object(self.name, key)
            assert found.last_modified is not None
            sha256 = (found.metadata or {}).get(SHA256_HEADER)
            return Object(found.size or 0, found.last_modified, str(found.etag), sha256)

        try:
            return self.patiently("look at", key, ask)
        except FileNotFoundError:
            return None

    def list(self, prefix: str) -> dict[str, Object]:
        """Return all objects whose names start with the prefix."""

        def ask() -> dict[str, Object]:
            found = self.client.list_objects(self.name, prefix, recursive=True)
            return {
                str(o.object_name): Object(o.size or 0, o.last_modified, str(o.etag), None)
                for o in found
                if o.last_modified is not None
            }

        return self.patiently("list", prefix, ask)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; no error for one that is not there."""
        names = list(keys)

        def remove() -> None:
            doomed = [DeleteObject(name) for name in names]
            for error in self.client.remove_objects(self.name, doomed):
                if error.code in _TRANSIENT:
                    raise ServerError(f"{error.code}: {error.message}", 503)
                raise self.problem("remove", str(error.name), _advice(error.code, error.message))

        if names:
            self.patiently("remove", names[0], remove)

    def put_if(self, key: str, data: bytes, sha256: str, condition: Mapping[str, str]) -> bool:
        """Put an object under a condition; tell whether it held."""
        return self.patiently(
            "write",
            key,
            lambda: self.client.put_if(self.name, key, data, {SHA256_HEADER: sha256, **condition}),
        )

    def copy(self, key: str, new: str) -> None:
        """Set an object to the content of another one, by the server itself."""

        def copy() -> None:
            found = self.client.stat_object(self.name, key)
            if (found.size or 0) <= MAX_COPY_BYTES:
                self.client.copy_object(self.name, new, CopySource(self.name, key))
                return
            sha256 = (found.metadata or {}).get(SHA256_HEADER)
            metadata: Headers = {SHA256_HEADER: sha256} if sha256 else {}
            sources = [ComposeSource(self.name, key)]
            self.client.compose_object(self.name, new, sources, metadata=metadata)

        self.patiently("copy", key, copy)

    def abandon_uploads(self, key: str) -> None:
        """Remove the parts of uploads of an object that were never completed."""
        self.patiently("clear", key, lambda: self.client.abandon_uploads(self.name, key))

    def problem(self, doing: str, key: str, why: str) -> StoreError:
        """Return the error that names bucket, key and server."""
        what = f"key {key!r} of bucket {self.name}" if key else f"bucket {self.name}"
        return StoreError(f"cannot {doing} {what} at {self.endpoint}: {why}")

    def patiently(self, doing: str, key: str, operation: Callable[[], T]) -> T:
        """Return the operation's result; what fails for a moment is tried again, until a deadline.

        Raises:
            StoreError: it failed for good.
            FileNotFoundError: there is no such object.
        """
        try:
            return self._try(doing, key, operation)
        except S3Error as error:
            if error.code == "NoSuchKey":
                place = f"s3://{self.name}/{key}"
                raise FileNotFoundError(errno.ENOENT, "no such object", place) from error
            raise self.problem(doing, key, _advice(error.code, error.message)) from error
        except Damaged as error:
            raise self.problem(doing, key, f"{error}; write it again") from error
        except _FAILURES as error:
            why = f"{_cause(error)}; it was tried for {_deadline_seconds():g} s: look at the server"
            raise self.problem(doing, key, f"{why}, then run it again") from error

    def _try(self, doing: str, key: str, operation: Callable[[], T]) -> T:
        """Try once, which mostly does, and only then with all that it takes to try again."""
        try:
            return operation()
        except _FAILURES as error:
            if not is_transient(error):
                raise
            first = error
        self._log_retry(doing, key, first)
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
            stop=_enough,
            before_sleep=lambda state: self._log_retry(doing, key, _failure(state)),
            reraise=True,
        )(operation)

    def _log_retry(self, doing: str, key: str, error: BaseException | None) -> None:
        why = f"{_cause(error)}; trying again until {_deadline_seconds():g} s have passed"
        _LOG.warning("%s", self.problem(doing, key, why))


def _cause(error: BaseException | None) -> str:
    """Return what went wrong, without the request that urllib3 puts around it."""
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        # It begins with the connection, which the message names already.
        return str(error.reason).partition("): ")[2] or str(error.reason)
    return str(error)


def _failure(state: tenacity.RetryCallState) -> BaseException | None:
    """Return what the last try raised."""
    return state.outcome.exception() if state.outcome else None


def _advice(code: str | None, message: str | None) -> str:
    """Return what an error of the server means, and what to do."""
    return _ADVICE.get(str(code), f"{code}: {message}")


def is_transient(error: BaseException) -> bool:
    """Tell whether the same operation may succeed later."""
    if isinstance(error, S3Error):
        return error.code in _TRANSIENT
    if isinstance(error, ServerError):
        return error.status_code >= 500
    if isinstance(error, InvalidResponseError):
        return True
    if isinstance(error, urllib3.exceptions.MaxRetryError):
        return not isinstance(
            error.reason, urllib3.exceptions.SSLError | urllib3.exceptions.NameResolutionError
        )
    return isinstance(error, urllib3.exceptions.HTTPError | Damaged | ConnectionError | ParseError)


def _enough(state: tenacity.RetryCallState) -> bool:
    """Tell whether to give up."""
    if isinstance(_failure(state), Damaged) and state.attempt_number >= _TRIES_IF_DAMAGED:
        return True
    return (state.seconds_since_start or 0) >= _deadline_seconds()


def _deadline_seconds() -> float:
    told = os.environ.get("ASSAY_S3_DEADLINE_SECONDS", str(DEADLINE_SECONDS))
    try:
        return float(told)
    except ValueError:
        message = f"ASSAY_S3_DEADLINE_SECONDS={told!r}: must be a number of seconds"
        raise InvalidInput(message) from None
