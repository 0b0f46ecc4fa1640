"""From a URL to a store."""

import re
from pathlib import Path
from urllib.parse import unquote

from assay_api.errors import InvalidInput
from assay_data.store.folder import FolderStore
from assay_data.store.interface import Store, Wanted, everything
from assay_data.store.trees import MANIFEST

_ALLOWED = "allowed are a path, such as runs/one, file:///absolute/path, and s3://bucket/prefix"


def open_store(url: str) -> Store:
    """Return the store at a URL: a path, `file:///absolute/path`, or `s3://bucket/prefix`.

    It need not exist yet, but for the bucket; nothing is asked of a server yet.

    Raises:
        InvalidInput: the URL is of another kind, or the environment lacks what the bucket needs.
    """
    if not url.startswith("s3://"):
        return FolderStore(local_path(url))
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    # The names that S3 allows.
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise InvalidInput(
            f"{url!r} names no bucket: a bucket's name has 3 to 63 lower-case letters, digits, "
            "hyphens and dots"
        )
    # Not for a store in a folder, which most processes open: it takes longer than all else here.
    from assay_data.store.connection import connect
    from assay_data.store.s3 import S3Store

    return S3Store(connect(bucket), "").child(unquote(prefix).strip("/"))


def local_copy(url: str, wanted: Wanted = everything) -> Path:
    """Return the file or folder that a URL or a path means, on this machine.

    Of a bucket it is a copy: of a published tree, every file compared with its SHA-256; else of one
    object, or of all under the prefix. Files of a tree that are not wanted are left out.

    Raises:
        InvalidInput: it is no place for files.
        StoreError: the bucket holds nothing there, or cannot be read.
    """
    if not url.startswith("s3://"):
        return local_path(url)
    store = open_store(url)
    if store.exists(MANIFEST):
        return store.fetch("", wanted)
    parent, _, name = url.rpartition("/")
    if parent != "s3:/" and name and open_store(parent).exists(unquote(name)):
        return open_store(parent).bring(unquote(name))
    return store.mirror("", wanted)


def local_path(url: str) -> Path:
    """Return the absolute path that a URL or a plain path means.

    Raises:
        InvalidInput: it is empty, or a URL of something else than a local file.

    Example:
        >>> local_path("file:///data/my%20videos")
        PosixPath('/data/my videos')
    """
    if not url or "\0" in url:
        raise InvalidInput(f"{url!r} is no place for files; {_ALLOWED}")
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url):
        return Path(url).expanduser().absolute()
    if not url.startswith("file:///"):
        raise InvalidInput(f"{url!r} cannot be opened here: {_ALLOWED}")
    return Path(unquote(url.removeprefix("file://")))
